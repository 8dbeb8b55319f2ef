/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat node - the driver as kubelet knows it
 *
 * Serves the CSI socket where kubelet expects it, registers there, and may serve the same services
 * to the fleet's controller over TCP with mutual TLS. Paths derive from one option, --kubelet-dir,
 * since a path given twice is a path given wrong once.
 */
#include "cmd/serve.h"

/* clang-format off */
static const struct opt options[] = {
	{ .name = "Kubelet", .type = OPT_GROUP },
	{ .name = "node-id", .type = OPT_STRING, .offset = offsetof(struct serve_options, node_id), .arg = "ID",
	  .env = "NODE_NAME", .help = "The node's name in Kubernetes. Required." },
	{ .name = "kubelet-dir", .type = OPT_STRING, .offset = offsetof(struct serve_options, kubelet_dir),
	  .arg = "DIR", .fallback = "/var/lib/kubelet", .help = "Kubelet's root directory, the same path inside and "
								"outside the container." },
	{ .name = "endpoint", .type = OPT_STRING, .offset = offsetof(struct serve_options, endpoint), .arg = "ADDRESS",
	  .env = "CSI_ENDPOINT",
	  .help = "The CSI socket; unix://KUBELET-DIR/plugins/DRIVER/csi.sock unless given." },
	{ .name = "kubelet-registration-path", .type = OPT_STRING,
	  .offset = offsetof(struct serve_options, registration_path), .arg = "PATH",
	  .help = "The CSI socket's path as kubelet on the host sees it; that of --endpoint unless given." },
	{ .name = "What is served", .type = OPT_GROUP },
	SERVE_DRIVER_OPTIONS,
	{ .name = "Fleet", .type = OPT_GROUP },
	{ .name = "fleet-endpoint", .type = OPT_STRING, .offset = offsetof(struct serve_options, fleet_endpoint),
	  .arg = "ADDRESS", .help = "tcp://host[:10000], where the controller reaches this node's pools." },
	TLS_OPTIONS(struct serve_options, tls),
	{ .name = "certificate-signer", .type = OPT_STRING,
	  .offset = offsetof(struct serve_options, certificate_signer), .arg = "NAME",
	  .help = "In place of --tls-cert and --tls-key: ask the API server for a certificate of this node, by a "
		  "CertificateSigningRequest for that signer, and for the next one in time. The key stays in this process." },
	{ .name = "certificate-lifetime", .type = OPT_DURATION,
	  .offset = offsetof(struct serve_options, certificate_lifetime_ns), .arg = "TIME", .fallback = "24h",
	  .help = "How long it is to be good for; the signer may give it less. At least 10m." },
	{ .name = "kubeconfig", .type = OPT_STRING, .offset = offsetof(struct serve_options, kubeconfig),
	  .arg = "FILE", .help = "For that. Unless given: $KUBECONFIG, else the pod's service account, else ~/.kube/config." },
	SERVE_PROCESS_OPTIONS,
	CMD_COMMON_OPTIONS(struct serve_options),
	{ .type = OPT_END },
};
/* clang-format on */

static int run(const struct cmd *cmd, int argc, char **argv)
{
	return serve_main(cmd, true, argc, argv);
}

const struct cmd cmd_node = {
	.name = "node",
	.summary = "Serve kubelet on a node, registered with it, and the fleet's controller.",
	.synopsis = "cleat node --node-id=ID --pool=DIR [option...]",
	.about = "As the chart's DaemonSet runs it:\n"
		 "  cleat node --node-id=$(NODE_NAME) --pool=/var/lib/cleat "
		 "--fleet-endpoint=tcp://:10000 \\\n"
		 "    --tls-cert=/tls/tls.crt --tls-key=/tls/tls.key --tls-ca=/tls/ca.crt "
		 "--http-endpoint=:9808\n",
	.options = options,
	.run = run,
};
