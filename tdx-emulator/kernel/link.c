// SPDX-License-Identifier: GPL-2.0-only
/*
 * Framed requests to the host service, over the second serial port, polled.
 *
 * The port is programmed directly: an interrupt or a tty layer would add
 * latency and surface, and 8250 must not find the port. Every wait has a
 * deadline, every drain a budget. Frames carry a checksum but no sequence
 * number, so a late reply could be taken for the next one: the first failure
 * of the transport therefore ends the device (fail closed), it is not retried.
 */

#define pr_fmt(fmt) "tdx_guest_emulated: " fmt

#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/serial_reg.h>
#include <linux/string.h>
#include <linux/unaligned.h>

#include "tdx_guest_emulated.h"

#define COM2_BASE		0x2f8
#define COM2_PORTS		8
#define UART_FIFO_BYTES		16	/* 16550A */

#define FRAME_MAGIC		0xe1584454u	/* "TDX\xe1", little endian */
#define FRAME_VERSION		1
#define FRAME_REPLY		0x80
#define FRAME_ERROR		0xff
#define FRAME_HEADER_BYTES	16

/* The transmitter empties in microseconds unless the service is gone. */
#define TX_TIMEOUT_MS		5000
/* Longest pause inside a frame, and inside noise before one. */
#define RX_GAP_TIMEOUT_MS	5000
/* Firmware terminals write escape sequences to COM2: some KB, never more. */
#define NOISE_BUDGET_BYTES	(64 * 1024)
/* Spin this long before sleeping between polls: a burst follows in ~50 us. */
#define SPIN_US			200

static DEFINE_MUTEX(link_lock);
static bool link_failed;

static u8 uart_in(int reg)
{
	return inb(COM2_BASE + reg);
}

static void uart_out(int reg, u8 value)
{
	outb(value, COM2_BASE + reg);
}

/* An absent port reads as 0xff, and so would its scratch register. */
static bool uart_present(void)
{
	uart_out(UART_SCR, 0x5a);
	if (uart_in(UART_SCR) != 0x5a)
		return false;
	uart_out(UART_SCR, 0xa5);
	return uart_in(UART_SCR) == 0xa5;
}

/* 115200 8N1 (the highest rate), no interrupts, FIFOs on with trigger at 14. */
static void uart_setup(void)
{
	uart_out(UART_IER, 0);
	uart_out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	uart_out(UART_DLL, 1);
	uart_out(UART_DLM, 0);
	uart_out(UART_LCR, UART_LCR_WLEN8);
	uart_out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR |
			   UART_FCR_CLEAR_XMIT | UART_FCR_TRIGGER_14);
	uart_out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
}

/* Waits until one of @bits shows in the line status. 0 or -ETIMEDOUT. */
static int uart_wait(u8 bits, u32 timeout_ms)
{
	ktime_t start = ktime_get();
	ktime_t deadline = ktime_add_ms(start, timeout_ms);
	ktime_t now;

	while (!(uart_in(UART_LSR) & bits)) {
		now = ktime_get();
		if (ktime_after(now, deadline))
			return -ETIMEDOUT;
		if (ktime_us_delta(now, start) < SPIN_US)
			cpu_relax();
		else
			usleep_range(20, 60);
	}
	return 0;
}

static int uart_send(const void *data, u32 len)
{
	const u8 *bytes = data;
	u32 burst;

	while (len) {
		if (uart_wait(UART_LSR_THRE, TX_TIMEOUT_MS))
			return -ETIMEDOUT;
		burst = min_t(u32, len, UART_FIFO_BYTES);
		outsb(COM2_BASE + UART_TX, bytes, burst);
		bytes += burst;
		len -= burst;
	}
	return 0;
}

static int uart_receive(void *data, u32 len, u32 timeout_ms)
{
	u8 *bytes = data;
	u32 i;

	for (i = 0; i < len; i++) {
		if (uart_wait(UART_LSR_DR, i ? RX_GAP_TIMEOUT_MS : timeout_ms))
			return -ETIMEDOUT;
		bytes[i] = uart_in(UART_RX);
	}
	return 0;
}

/* Throws away what arrived unasked. */
static void uart_drain(void)
{
	u32 budget = NOISE_BUDGET_BYTES;

	while (budget-- && (uart_in(UART_LSR) & UART_LSR_DR))
		uart_in(UART_RX);
}

/* The checksum covers version, opcode, reserved and length, then the payload. */
static u32 frame_crc(const u8 *header, const void *payload, u32 len)
{
	u32 crc = crc32_le(~0u, header + 4, 8);

	return ~crc32_le(crc, payload, len);
}

static int frame_send(const struct tdxe_request *request)
{
	u8 header[FRAME_HEADER_BYTES];
	int ret;

	put_unaligned_le32(FRAME_MAGIC, header);
	header[4] = FRAME_VERSION;
	header[5] = request->opcode;
	put_unaligned_le16(0, header + 6);
	put_unaligned_le32(request->payload_len, header + 8);
	put_unaligned_le32(frame_crc(header, request->payload,
				     request->payload_len), header + 12);

	ret = uart_send(header, sizeof(header));
	return ret ?: uart_send(request->payload, request->payload_len);
}

/* Skips noise up to the magic number. */
static int frame_synchronise(u32 timeout_ms)
{
	u32 budget = NOISE_BUDGET_BYTES;
	u32 window = 0;
	u8 byte;
	int ret;

	while (budget--) {
		ret = uart_receive(&byte, 1, timeout_ms);
		if (ret)
			return ret;
		window = (window >> 8) | ((u32)byte << 24);
		if (window == FRAME_MAGIC)
			return 0;
	}
	return -EPROTO;
}

/* The service's own refusal: a positive error number, else -EREMOTEIO. */
static int frame_error(const u8 *payload, u32 len)
{
	u32 code = len == sizeof(u32) ? get_unaligned_le32(payload) : 0;

	return code >= 1 && code <= MAX_ERRNO ? -(int)code : -EREMOTEIO;
}

/* Returns the reply's length; @refusal is set if the service answered with an error. */
static int frame_receive(const struct tdxe_request *request, int *refusal)
{
	u8 header[FRAME_HEADER_BYTES];
	u8 code[sizeof(u32)];
	void *payload = request->reply;
	u32 len, max = request->reply_max;
	int ret;

	ret = frame_synchronise(request->timeout_ms);
	ret = ret ?: uart_receive(header + 4, sizeof(header) - 4, RX_GAP_TIMEOUT_MS);
	if (ret)
		return ret;
	if (header[4] != FRAME_VERSION || get_unaligned_le16(header + 6))
		return -EPROTO;
	if (header[5] == FRAME_ERROR) {
		payload = code;
		max = sizeof(code);
	} else if (header[5] != (request->opcode | FRAME_REPLY)) {
		return -EPROTO;
	}
	len = get_unaligned_le32(header + 8);
	if (len > max)
		return -EMSGSIZE;
	ret = uart_receive(payload, len, RX_GAP_TIMEOUT_MS);
	if (ret)
		return ret;
	if (frame_crc(header, payload, len) != get_unaligned_le32(header + 12))
		return -EBADMSG;
	if (header[5] == FRAME_ERROR)
		*refusal = frame_error(code, len);
	return len;
}

int tdxe_link_call(const struct tdxe_request *request)
{
	int refusal = 0;
	int ret;

	if (request->payload_len > TDXE_PAYLOAD_MAX)
		return -EMSGSIZE;

	guard(mutex)(&link_lock);
	if (link_failed)
		return -EIO;

	uart_drain();
	ret = frame_send(request);
	ret = ret ?: frame_receive(request, &refusal);
	if (ret < 0) {
		link_failed = true;
		pr_err("request 0x%02x failed: %d; the device is dead until the next boot\n",
		       request->opcode, ret);
		return -EIO;
	}
	return refusal ?: ret;
}

int tdxe_link_claim(void)
{
	if (!request_region(COM2_BASE, COM2_PORTS, "tdx_guest_emulated"))
		return -EBUSY;
	if (!uart_present()) {
		tdxe_link_release();
		return -ENODEV;
	}
	uart_setup();
	uart_drain();
	return 0;
}

void tdxe_link_release(void)
{
	release_region(COM2_BASE, COM2_PORTS);
}
