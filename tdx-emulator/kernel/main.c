// SPDX-License-Identifier: GPL-2.0-only
/*
 * Emulated TDX guest device, for development kernels only.
 *
 * It offers programs the very interfaces of the real driver: a misc device
 * "tdx_guest" with measurement registers through tsm-mr, and quotes through
 * configfs-tsm. Behind them is a service on the host, so nothing here proves
 * anything: the host that a TD distrusts computes the registers and signs the
 * quotes. On a real TD the driver gives way, so that it can never shadow
 * true evidence. What the real device has and this one has not: the ioctl for
 * local reports.
 */

#define pr_fmt(fmt) "tdx_guest_emulated: " fmt

#include <linux/cpufeature.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tsm-mr.h>
#include <linux/tsm.h>
#include <crypto/sha2.h>

#include "tdx_guest_emulated.h"

/* The name of the real driver's device and provider. */
#define TDX_GUEST_NAME		"tdx_guest"
#define TDX_REPORTDATA_BYTES	64

/* The service hashes firmware, kernel and initrd before it answers HELLO. */
#define HELLO_TIMEOUT_MS	30000
#define REGISTER_TIMEOUT_MS	10000
#define QUOTE_TIMEOUT_MS	30000

/* Registers in the order of the wire format. */
enum {
	MRTD, RTMR0, RTMR1, RTMR2, RTMR3, MRCONFIGID, MROWNER, MROWNERCONFIG,
	REGISTERS
};

static u8 registers[REGISTERS][SHA384_DIGEST_SIZE];

/* The four RTMRs come first: their position is the index that EXTEND names. */
static const struct tsm_measurement_register emulated_mrs[] = {
	{ .mr_value = registers[RTMR0], TSM_MR_(rtmr0, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = registers[RTMR1], TSM_MR_(rtmr1, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = registers[RTMR2], TSM_MR_(rtmr2, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = registers[RTMR3], TSM_MR_(rtmr3, SHA384) | TSM_MR_F_RTMR },
	{ .mr_value = registers[MRTD], TSM_MR_(mrtd, SHA384) },
	{ .mr_value = registers[MRCONFIGID],
	  TSM_MR_(mrconfigid, SHA384) | TSM_MR_F_NOHASH },
	{ .mr_value = registers[MROWNER],
	  TSM_MR_(mrowner, SHA384) | TSM_MR_F_NOHASH },
	{ .mr_value = registers[MROWNERCONFIG],
	  TSM_MR_(mrownerconfig, SHA384) | TSM_MR_F_NOHASH },
};

/* A reply of another length than @want is as bad as none. */
static int call_exact(const struct tdxe_request *request, u32 want)
{
	int ret = tdxe_link_call(request);

	if (ret < 0)
		return ret;
	return ret == want ? 0 : -EPROTO;
}

/* Replaces all registers at once, or none. tsm-mr holds its lock exclusively. */
static int load_registers(struct tdxe_request *request)
{
	u8 *fresh __free(kfree) = kmalloc(sizeof(registers), GFP_KERNEL);
	int ret;

	if (!fresh)
		return -ENOMEM;
	request->reply = fresh;
	request->reply_max = sizeof(registers);
	ret = call_exact(request, sizeof(registers));
	if (!ret)
		memcpy(registers, fresh, sizeof(registers));
	return ret;
}

static int emulated_refresh(const struct tsm_measurements *tm)
{
	struct tdxe_request request = {
		.opcode = TDXE_READ,
		.timeout_ms = REGISTER_TIMEOUT_MS,
	};

	return load_registers(&request);
}

static int emulated_extend(const struct tsm_measurements *tm,
			   const struct tsm_measurement_register *mr,
			   const u8 *data)
{
	u8 payload[1 + SHA384_DIGEST_SIZE];
	u8 value[SHA384_DIGEST_SIZE];
	struct tdxe_request request = {
		.opcode = TDXE_EXTEND,
		.payload = payload,
		.payload_len = sizeof(payload),
		.reply = value,
		.reply_max = sizeof(value),
		.timeout_ms = REGISTER_TIMEOUT_MS,
	};

	payload[0] = mr - tm->mrs;
	memcpy(payload + 1, data, SHA384_DIGEST_SIZE);
	return call_exact(&request, sizeof(value));
}

static const struct tsm_measurements emulated_measurements = {
	.mrs = emulated_mrs,
	.nr_mrs = ARRAY_SIZE(emulated_mrs),
	.refresh = emulated_refresh,
	.write = emulated_extend,
};

static int emulated_report_new(struct tsm_report *report, void *data)
{
	u8 *quote __free(kvfree) = NULL;
	struct tdxe_request request = {
		.opcode = TDXE_QUOTE,
		.payload = report->desc.inblob,
		.payload_len = TDX_REPORTDATA_BYTES,
		.reply_max = TDXE_PAYLOAD_MAX,
		.timeout_ms = QUOTE_TIMEOUT_MS,
	};
	int len;

	if (report->desc.inblob_len != TDX_REPORTDATA_BYTES)
		return -EINVAL;
	quote = kvmalloc(TDXE_PAYLOAD_MAX, GFP_KERNEL);
	if (!quote)
		return -ENOMEM;
	request.reply = quote;
	len = tdxe_link_call(&request);
	if (len <= 0)
		return len ?: -EPROTO;
	report->outblob = kvmemdup(quote, len, GFP_KERNEL);
	if (!report->outblob)
		return -ENOMEM;
	report->outblob_len = len;
	return 0;
}

static bool emulated_attr_visible(int n)
{
	return n == TSM_REPORT_GENERATION || n == TSM_REPORT_PROVIDER;
}

static bool emulated_bin_attr_visible(int n)
{
	return n == TSM_REPORT_INBLOB || n == TSM_REPORT_OUTBLOB;
}

static const struct tsm_report_ops emulated_report_ops = {
	.name = TDX_GUEST_NAME,
	.report_new = emulated_report_new,
	.report_attr_visible = emulated_attr_visible,
	.report_bin_attr_visible = emulated_bin_attr_visible,
};

static const struct file_operations emulated_fops = {
	.owner = THIS_MODULE,
};

static const struct attribute_group *emulated_groups[] = {
	NULL, /* measurements */
	NULL
};

static struct miscdevice emulated_device = {
	.name = TDX_GUEST_NAME,
	.minor = MISC_DYNAMIC_MINOR,
	.fops = &emulated_fops,
	.groups = emulated_groups,
};

/* Sends what the firmware was given and takes the boot's measurements. */
static int emulated_hello(void)
{
	struct tdxe_request request = {
		.opcode = TDXE_HELLO,
		.timeout_ms = HELLO_TIMEOUT_MS,
	};
	void *blobs;
	int ret;

	blobs = tdxe_firmware_blobs(&request.payload_len);
	if (IS_ERR(blobs))
		return PTR_ERR(blobs);
	request.payload = blobs;
	ret = load_registers(&request);
	kvfree(blobs);
	return ret;
}

static int emulated_register(void)
{
	const struct attribute_group *group;
	int ret;

	group = tsm_mr_create_attribute_group(&emulated_measurements);
	if (IS_ERR(group))
		return PTR_ERR(group);
	emulated_groups[0] = group;

	ret = misc_register(&emulated_device);
	if (ret)
		goto free_group;
	ret = tsm_report_register(&emulated_report_ops, NULL);
	if (ret)
		goto deregister;
	return 0;

deregister:
	misc_deregister(&emulated_device);
free_group:
	tsm_mr_free_attribute_group(group);
	return ret;
}

static int __init emulated_start(void)
{
	int ret;

	ret = emulated_hello();
	ret = ret ?: emulated_register();
	if (ret) {
		pr_err("no device: %d\n", ret);
		return ret;
	}
	pr_warn("EMULATED TDX device: its evidence proves nothing about hardware\n");
	return 0;
}

/*
 * Before device_initcall, at which the 8250 driver probes the legacy ports and
 * the driver for QEMU's firmware configuration takes that device's.
 */
static int __init emulated_init(void)
{
	int ret;

	if (cpu_feature_enabled(X86_FEATURE_TDX_GUEST))
		return -ENODEV;
	ret = tdxe_link_claim();
	if (ret) {
		pr_info("no second serial port, no device: %d\n", ret);
		return ret;
	}
	ret = emulated_start();
	if (ret)
		tdxe_link_release();
	return ret;
}
fs_initcall(emulated_init);
