{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "rbd.fullname" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "rbd.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rbd.labels" -}}
{{ include "rbd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cleat
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rbd.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "rbd.account" -}}
{{- default (printf "%s-%s" (include "rbd.fullname" .root) .of) (index .root.Values.serviceAccounts .of).name -}}
{{- end -}}

{{/* A Secret that the class names, or ours. */}}
{{- define "rbd.secretKeys" -}}
{{- $class := .Values.storageClass -}}
{{- range $key, $value := dict "provisioner" "provisionerSecret" "controller-expand" "controllerExpandSecret" "node-stage" "nodeStageSecret" }}
csi.storage.k8s.io/{{ $key }}-secret-name: {{ default $.Values.secret.name (index $class $value) }}
csi.storage.k8s.io/{{ $key }}-secret-namespace: {{ default $.Release.Namespace (index $class (printf "%sNamespace" $value)) }}
{{- end }}
{{- end -}}

{{- define "rbd.refuse" -}}
{{- if .Values.topology.enabled }}{{ fail "topology.enabled: volumes of Ceph are reached from every node here; set it to false" }}{{ end -}}
{{- if .Values.readAffinity.enabled }}{{ fail "readAffinity.enabled: not done by cleat; set it to false" }}{{ end -}}
{{- if .Values.encryptionKMSConfig }}{{ fail "encryptionKMSConfig: encryption by a key service is not done by cleat, by a passphrase of the Secret it is (encryptionPassphrase); keep ceph-csi for classes with encryptionKMSID" }}{{ end -}}
{{- if not (has (toString (default "" .Values.storageClass.encryptionKMSID)) (list "" "default")) }}{{ fail "storageClass.encryptionKMSID: names a key service, which cleat does not do; leave it out, and the passphrase is encryptionPassphrase of the Secret" }}{{ end -}}
{{- if and .Values.secret.create (eq (toString .Values.storageClass.encrypted) "true") (not .Values.secret.encryptionPassphrase) }}{{ fail "secret.encryptionPassphrase: storageClass.encrypted needs one" }}{{ end -}}
{{- end -}}

{{/* A call without answer within 5 s, six times in a row, is a hung program. */}}
{{- define "rbd.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
