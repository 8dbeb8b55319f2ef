/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat driver - the CSI services on one endpoint
 *
 * The plain process: for a CO that is not Kubernetes, under upstream's sidecars, for `cleat ctl`,
 * and for tests. What it does is in serve.c; here is only what a person can tell it.
 */
#include "cmd/serve.h"

/* clang-format off */
static const struct opt options[] = {
	{ .name = "What is served where", .type = OPT_GROUP },
	{ .name = "endpoint", .type = OPT_STRING, .offset = offsetof(struct serve_options, endpoint), .arg = "ADDRESS",
	  .env = "CSI_ENDPOINT", .help = "unix:///path.sock, or tcp://host[:10000] with mutual TLS. Required." },
	{ .name = "node-id", .type = OPT_STRING, .offset = offsetof(struct serve_options, node_id), .arg = "ID",
	  .env = "NODE_NAME", .help = "This node's name, at most 256 bytes. Required." },
	{ .name = "kubelet-dir", .type = OPT_STRING, .offset = offsetof(struct serve_options, kubelet_dir),
	  .arg = "DIR", .help = "Under kubelet: its root directory, such as /var/lib/kubelet. Staging and target paths "
				"must lie below it; they may be anywhere unless given." },
	SERVE_DRIVER_OPTIONS,
	{ .name = "Safety of tcp://", .type = OPT_GROUP },
	TLS_OPTIONS(struct serve_options, tls),
	SERVE_PROCESS_OPTIONS,
	CMD_COMMON_OPTIONS(struct serve_options),
	{ .type = OPT_END },
};
/* clang-format on */

static int run(const struct cmd *cmd, int argc, char **argv)
{
	return serve_main(cmd, false, argc, argv);
}

const struct cmd cmd_driver = {
	.name = "driver",
	.summary = "Serve the CSI services of this machine's pools on one endpoint.",
	.synopsis = "cleat driver --endpoint=ADDRESS --node-id=ID --pool=DIR [option...]",
	.about =
		"Try it without a spare disk:\n"
		"  cleat driver --endpoint=unix:///run/cleat.sock --node-id=n1 "
		"--pool-image=/var/tmp/pool.img "
		"--pool-size=8Gi\n"
		"  cleat ctl info\n"
		"On a disk of its own (mkfs.xfs -m reflink=1 /dev/sdX; mount /dev/sdX /srv/pool):\n"
		"  cleat driver --endpoint=unix:///run/cleat.sock --node-id=n1 --pool=/srv/pool\n",
	.options = options,
	.run = run,
};
