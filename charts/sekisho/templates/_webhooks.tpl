{{/* How a webhook is called. Takes (dict "root" $ "path" PATH "failurePolicy" POLICY). */}}
{{- define "sekisho.called" -}}
clientConfig:
  {{- if .root.Values.webhook.url }}
  url: {{ printf "%s%s" (.root.Values.webhook.url | trimSuffix "/") .path | quote }}
  {{- else }}
  service:
    name: {{ include "sekisho.fullname" .root }}-webhook
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: 443
  {{- end }}
admissionReviewVersions: [v1]
matchPolicy: Equivalent
failurePolicy: {{ .failurePolicy }}
timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
{{- end -}}

{{/* The fields that every webhook of pods has. The same argument. */}}
{{- define "sekisho.webhook" -}}
{{ include "sekisho.called" . }}
# Events are written, but not on dryRun.
sideEffects: NoneOnDryRun
# The API server itself sets this label to the namespace's name: nobody can opt out by labelling a namespace.
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{- include "sekisho.excludedNamespaces" .root | nindent 8 }}
{{- end -}}

{{- define "sekisho.podFailurePolicy" -}}
{{ ternary "Ignore" "Fail" .Values.webhook.admitPodsUnjudged }}
{{- end -}}

{{/* Annotations of both webhook configurations: who sets caBundle, where it is not the controller. */}}
{{- define "sekisho.caBundleAnnotations" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "sekisho.fullname" . }}-webhook
{{- end -}}
{{- end -}}
