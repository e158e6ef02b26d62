/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Emulated TDX guest device: what its three files share.
 *
 * main.c   the kernel's interfaces (tsm-mr registers, configfs-tsm quotes)
 * link.c   framed requests over a polled serial port
 * fwcfg.c  QEMU's ACPI blobs, the host service's input for RTMR0
 */
#ifndef TDX_GUEST_EMULATED_H
#define TDX_GUEST_EMULATED_H

#include <linux/types.h>

/* Requests; a reply carries the same number with TDXE_REPLY set. */
enum tdxe_opcode {
	TDXE_HELLO	= 0x01,	/* firmware blobs -> all registers */
	TDXE_READ	= 0x02,	/* nothing -> all registers */
	TDXE_EXTEND	= 0x03,	/* index and digest -> that register */
	TDXE_QUOTE	= 0x04,	/* report data -> quote */
};

/*
 * Largest payload in either direction, part of the wire format. ACPI blobs
 * trimmed of zeros are about 12 KB, quotes about 8 KB.
 */
#define TDXE_PAYLOAD_MAX	(256 * 1024)

/**
 * struct tdxe_request - one exchange with the host service
 * @opcode: what is asked
 * @payload: bytes to send, @payload_len of them, at most TDXE_PAYLOAD_MAX
 * @payload_len: length of @payload
 * @reply: room for the answer
 * @reply_max: size of @reply; a longer answer fails with -EMSGSIZE
 * @timeout_ms: how long the service may think before its first byte
 */
struct tdxe_request {
	enum tdxe_opcode opcode;
	const void *payload;
	u32 payload_len;
	void *reply;
	u32 reply_max;
	u32 timeout_ms;
};

/* Takes COM2 before the 8250 driver does. 0, -EBUSY, or -ENODEV without a port. */
int tdxe_link_claim(void);
void tdxe_link_release(void);

/*
 * Sends @request and waits for its reply. Returns the reply's length, the
 * service's own error as -errno, or -EIO for good once the link has failed.
 */
int tdxe_link_call(const struct tdxe_request *request);

/*
 * Returns the payload of TDXE_HELLO, to be freed with kvfree(), and its length
 * in @len; an ERR_PTR() if QEMU's firmware configuration cannot be read.
 */
void *tdxe_firmware_blobs(u32 *len);

#endif
