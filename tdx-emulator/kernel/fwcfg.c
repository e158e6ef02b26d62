// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads the ACPI blobs that QEMU gave to the firmware, through the I/O ports
 * of its firmware configuration device (QEMU, docs/specs/fw_cfg.rst).
 *
 * A real TDX firmware measures these blobs, as they are before it patches
 * addresses into them, into RTMR0. The host service computes the same digests
 * from what the guest really received, so it needs the bytes. Data port only:
 * no DMA, and the ports are free again for the kernel's own driver.
 */

#include <linux/err.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/unaligned.h>
#include <uapi/linux/qemu_fw_cfg.h>

#include "tdx_guest_emulated.h"

#define FWCFG_SELECTOR		0x510
#define FWCFG_DATA		0x511
#define FWCFG_PORTS		2

/* QEMU has at most a few dozen files; a larger count is not QEMU's. */
#define DIRECTORY_MAX		1024
/* Tables are 128 KiB for any shape that boots here; QEMU's own ceiling is 2 MiB. */
#define BLOB_MAX_BYTES		(2 * 1024 * 1024)

/* In the order of the firmware's measurements. */
static const char * const blob_names[] = {
	"etc/table-loader",
	"etc/acpi/rsdp",
	"etc/acpi/tables",
};

struct blob {
	u32 len;	/* as QEMU states it */
	u32 stored;	/* without trailing zeros */
	u16 select;
	u8 *data;
};

static void fwcfg_select(u16 item)
{
	outw(item, FWCFG_SELECTOR);
}

static void fwcfg_read(void *data, u32 len)
{
	insb(FWCFG_DATA, data, len);
}

static bool fwcfg_present(void)
{
	char signature[4];

	fwcfg_select(FW_CFG_SIGNATURE);
	fwcfg_read(signature, sizeof(signature));
	return !memcmp(signature, "QEMU", sizeof(signature));
}

/* Finds each blob's selector and length in the directory. */
static int fwcfg_find(struct blob *blobs)
{
	struct fw_cfg_file file;
	u8 raw_count[4];
	u32 count, found = 0;

	fwcfg_select(FW_CFG_FILE_DIR);
	fwcfg_read(raw_count, sizeof(raw_count));
	count = get_unaligned_be32(raw_count);
	if (count > DIRECTORY_MAX)
		return -EPROTO;
	while (count--) {
		fwcfg_read(&file, sizeof(file));
		for (int i = 0; i < ARRAY_SIZE(blob_names); i++) {
			if (strncmp(file.name, blob_names[i], sizeof(file.name)))
				continue;
			blobs[i].len = be32_to_cpu(file.size);
			blobs[i].select = be16_to_cpu(file.select);
			found |= BIT(i);
		}
	}
	return found == BIT(ARRAY_SIZE(blob_names)) - 1 ? 0 : -ENOENT;
}

static int fwcfg_load(struct blob *blob)
{
	if (blob->len > BLOB_MAX_BYTES)
		return -EFBIG;
	blob->data = kvzalloc(blob->len, GFP_KERNEL);
	if (!blob->data)
		return -ENOMEM;
	fwcfg_select(blob->select);
	fwcfg_read(blob->data, blob->len);
	blob->stored = blob->len;
	while (blob->stored && !blob->data[blob->stored - 1])
		blob->stored--;
	return 0;
}

/* Each blob as length, stored length, bytes. */
static void *encode(const struct blob *blobs, u32 *len)
{
	u8 *payload, *at;

	*len = 0;
	for (int i = 0; i < ARRAY_SIZE(blob_names); i++)
		*len += 2 * sizeof(u32) + blobs[i].stored;
	if (*len > TDXE_PAYLOAD_MAX)
		return ERR_PTR(-EFBIG);
	payload = kvmalloc(*len, GFP_KERNEL);
	if (!payload)
		return ERR_PTR(-ENOMEM);

	at = payload;
	for (int i = 0; i < ARRAY_SIZE(blob_names); i++) {
		put_unaligned_le32(blobs[i].len, at);
		put_unaligned_le32(blobs[i].stored, at + sizeof(u32));
		at += 2 * sizeof(u32);
		memcpy(at, blobs[i].data, blobs[i].stored);
		at += blobs[i].stored;
	}
	return payload;
}

static void *read_blobs(struct blob *blobs, u32 *len)
{
	int ret;

	if (!fwcfg_present())
		return ERR_PTR(-ENODEV);
	ret = fwcfg_find(blobs);
	for (int i = 0; !ret && i < ARRAY_SIZE(blob_names); i++)
		ret = fwcfg_load(&blobs[i]);
	return ret ? ERR_PTR(ret) : encode(blobs, len);
}

void *tdxe_firmware_blobs(u32 *len)
{
	struct blob blobs[ARRAY_SIZE(blob_names)] = {};
	void *payload;

	if (!request_muxed_region(FWCFG_SELECTOR, FWCFG_PORTS, "tdx_guest_emulated"))
		return ERR_PTR(-EBUSY);
	payload = read_blobs(blobs, len);
	release_region(FWCFG_SELECTOR, FWCFG_PORTS);

	for (int i = 0; i < ARRAY_SIZE(blob_names); i++)
		kvfree(blobs[i].data);
	return payload;
}
