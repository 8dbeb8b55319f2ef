{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "cleat.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $both .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes between upgrades: selectors are made of it. */}}
{{- define "cleat.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cleat.labels" -}}
{{ include "cleat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cleat
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cleat.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Asked of the cluster that is installed to, if it is not given; a chart that is only rendered has none. */}}
{{- define "cleat.clusterID" -}}
{{- $system := lookup "v1" "Namespace" "" "kube-system" | default dict -}}
{{- default (dig "metadata" "uid" "" $system) .Values.driver.clusterID -}}
{{- end -}}

{{- define "cleat.nodeAccount" -}}
{{- default (printf "%s-node" (include "cleat.fullname" .)) .Values.node.serviceAccountName -}}
{{- end -}}

{{- define "cleat.controllerAccount" -}}
{{- default (printf "%s-controller" (include "cleat.fullname" .)) .Values.controller.serviceAccountName -}}
{{- end -}}

{{- define "cleat.controllerSecret" -}}
{{- default (printf "%s-controller-tls" (include "cleat.fullname" .)) .Values.tls.controllerSecret -}}
{{- end -}}

{{/* "true" where agents ask for their certificates, and the controller signs them. */}}
{{- define "cleat.signs" -}}
{{- if not (or .Values.tls.nodeSecret .Values.tls.nodeVolume) }}true{{ end -}}
{{- end -}}

{{- define "cleat.signer" -}}
{{- if not (contains "." .Values.driver.name) -}}
{{- fail "driver.name: agents' certificates are signed under it, which takes a name with a dot (or tls.nodeSecret)" -}}
{{- end -}}
{{ .Values.driver.name }}/agent
{{- end -}}

{{/* Of the agents' certificates, with its key. */}}
{{- define "cleat.authoritySecret" -}}
{{ include "cleat.fullname" . }}-agents-ca
{{- end -}}

{{/* Whom agents let in: the authority of the controller's certificate. */}}
{{- define "cleat.controllersCA" -}}
{{ include "cleat.fullname" . }}-controllers-ca
{{- end -}}

{{/* The Secret that agents of a release before this kind had in common: it goes with this upgrade, so it is there once. */}}
{{- define "cleat.sharedSecret" -}}
{{- $old := lookup "v1" "Secret" .Release.Namespace (printf "%s-node-tls" (include "cleat.fullname" .)) -}}
{{- if and $old (include "cleat.signs" .) }}{{ toJson $old.data }}{{ end -}}
{{- end -}}

{{/* Of controller.controllers what the controller's own process runs, in JSON: with nodeDeployment the nodes have the others. */}}
{{- define "cleat.central" -}}
{{- toJson (ternary (without .Values.controller.controllers "provisioner" "capacity") .Values.controller.controllers .Values.nodeDeployment.enabled) -}}
{{- end -}}

{{/* Those others, which each node has beside its agent. */}}
{{- define "cleat.ofNodes" -}}
{{ join "," (ternary (list "provisioner" "capacity") (list "provisioner") (has "capacity" .Values.controller.controllers)) }}
{{- end -}}

{{- define "cleat.controllers" -}}
{{- $central := include "cleat.central" . | fromJsonArray -}}
{{ join "," (ternary (append $central "certificates") $central (eq (include "cleat.signs" .) "true")) }}
{{- end -}}

{{- define "cleat.metadataSecret" -}}
{{- default (printf "%s-snapshot-metadata-tls" (include "cleat.fullname" .)) .Values.snapshotMetadata.tlsSecret -}}
{{- end -}}

{{/* Command line options that both programs have; call with a dict of root and of. */}}
{{- define "cleat.commonArgs" -}}
- --driver-name={{ .root.Values.driver.name }}
- --tls-ca=/tls/ca.crt
- --http-endpoint=:{{ .of.httpPort }}
- --logging-format={{ .of.logFormat }}
- -v={{ .of.logLevel }}
{{- range .of.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A call without answer within 5 s, six times in a row, is a hung program. */}}
{{- define "cleat.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
