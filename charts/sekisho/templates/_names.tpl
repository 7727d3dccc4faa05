{{/* Prefix of every name. 38 characters leave room for the longest pod name in a host name: "-webhook-" and 16 of hash. */}}
{{- define "sekisho.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "sekisho" .Release.Name -}}
{{ .Release.Name | trunc 38 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-sekisho" (.Release.Name | trunc 30 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{/* What a Deployment selects by: never changes during a release's life. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.selectorLabels" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object of the release. */}}
{{- define "sekisho.labels" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* Namespaces that the webhooks are not sent: exact names, each once. */}}
{{- define "sekisho.excludedNamespaces" -}}
{{ concat (list "kube-system" .Release.Namespace) .Values.excludeNamespaces | uniq | toYaml }}
{{- end -}}

{{/* Host names and addresses that the API server calls the webhook by, as a YAML list. */}}
{{- define "sekisho.servingNames" -}}
{{- if .Values.webhook.url -}}
- {{ (urlParse .Values.webhook.url).hostname | quote }}
{{- else -}}
{{- $service := printf "%s-webhook.%s.svc" (include "sekisho.fullname" .) .Release.Namespace -}}
- {{ $service }}
- {{ $service }}.cluster.local
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate that the webhook serves. cert-manager wants a type that one of another mode can't change to. */}}
{{- define "sekisho.certificateSecret" -}}
{{- if eq .Values.certificates.mode "secret" -}}
{{ required "certificates.secretName is required when certificates.mode is secret: a Secret with tls.crt, tls.key and ca.crt" .Values.certificates.secretName }}
{{- else -}}
{{ printf "%s-webhook-%s" (include "sekisho.fullname" .) (ternary "tls" "cert-manager" (eq .Values.certificates.mode "self")) }}
{{- end -}}
{{- end -}}
