{{/* How the API server calls a webhook. Takes (dict "root" $ "path" PATH "failurePolicy" POLICY). */}}
{{- define "sekisho.called" -}}
{{- $path := .path }}
{{- with include "sekisho.secretPath" .root }}
{{- $path = printf "%s/%s" $path . }}
{{- end -}}
clientConfig:
  {{- if .root.Values.webhook.url }}
  url: {{ printf "%s%s" (.root.Values.webhook.url | trimSuffix "/") $path | quote }}
  {{- else }}
  service:
    name: {{ include "sekisho.fullname" .root }}-webhook
    namespace: {{ .root.Release.Namespace | quote }}
    {{- if not (include "sekisho.controllerSetsPaths" .root) }}
    path: {{ $path }}
    {{- end }}
    port: 443
  {{- end }}
admissionReviewVersions: [v1]
matchPolicy: Equivalent
failurePolicy: {{ .failurePolicy }}
timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
{{- end -}}

{{/* The fields that all webhooks for pods share. Takes the same argument. */}}
{{- define "sekisho.webhook" -}}
{{ include "sekisho.called" . }}
# The webhook writes Events, but not for dry runs.
sideEffects: NoneOnDryRun
# The API server sets this label to the namespace's name, so nobody can opt out by labelling a namespace.
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{- include "sekisho.excludedNamespaces" .root | nindent 8 }}
{{- end -}}

{{- define "sekisho.podFailurePolicy" -}}
{{ ternary "Ignore" "Fail" .Values.webhook.admitPodsUnjudged }}
{{- end -}}

{{/* Labels and annotations of both webhook configurations. One tells cert-manager to set caBundle, if the controller does not. */}}
{{- define "sekisho.configurationMetadata" -}}
{{- $annotations := dict }}
{{- if eq .Values.certificates.mode "cert-manager" }}
{{- $annotations = dict "cert-manager.io/inject-ca-from" (printf "%s/%s-webhook" .Release.Namespace (include "sekisho.fullname" .)) }}
{{- end }}
labels: {{- include "sekisho.labelsWith" (dict "root" . "added" .Values.webhookConfigurations.labels) | nindent 2 }}
{{- $added := dict }}
{{- range $name, $value := .Values.webhookConfigurations.annotations }}
{{- /* `helm upgrade --reuse-values` keeps a null with which a default was removed before. */}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $added $name $value }}{{ end }}
{{- end }}
{{- with merge $annotations $added }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.certificates.mode "cert-manager" }}
{{- with lookup "v1" "Namespace" "" .Release.Namespace }}
# In the other modes the controller sets it. If the namespace is deleted, and the webhook with it, this is deleted too. Otherwise nobody
# would answer the API server, which would deny every pod.
ownerReferences:
  - {apiVersion: v1, kind: Namespace, name: {{ .metadata.name }}, uid: {{ .metadata.uid }}}
{{- end }}
{{- end }}
{{- end -}}
