{{/* The fields that both Deployments' pods share. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.podSpec" -}}
serviceAccountName: {{ include "sekisho.serviceAccount" . | quote }}
automountServiceAccountToken: true
# Otherwise the Service's variable SEKISHO_WEBHOOK_PORT=tcp://... would be read as the option --port of `sekisho webhook`.
enableServiceLinks: false
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if not .root.Values.hostUsers }}
hostUsers: false
{{- end }}
{{- with concat (.root.Values.imagePullSecrets | default list) ((.root.Values.global).imagePullSecrets | default list) | uniq }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := get .root.Values .component }}
{{- with $own.nodeSelector | default .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations | default .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .component "webhook" }}
terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds }}
{{- if $own.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with $own.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" $own.hostNetwork) }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $own.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $own.affinity | default .root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- else }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "sekisho.selectorLabels" . | nindent 14 }}
{{- end }}
topologySpreadConstraints:
{{- range $own.topologySpreadConstraints | default .root.Values.topologySpreadConstraints }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "sekisho.selectorLabels" $ | fromYaml)) }}
  - {{- toYaml (merge (deepCopy .) (hasKey . "labelSelector" | ternary dict $selector)) | nindent 4 }}
{{- else }}
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- include "sekisho.selectorLabels" . | nindent 8 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  # In memory, because TLS libraries only read private keys from files, and keys must not be written to the node's disk.
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
  {{- if and (eq .component "webhook") .root.Values.webhook.clientCA.configMap }}
  - name: client-ca
    configMap: {name: {{ .root.Values.webhook.clientCA.configMap | quote }}}
  {{- end }}
  {{- if and (eq .component "webhook") .root.Values.imageVerification.enabled .root.Values.imageVerification.registryCA.configMap }}
  - name: registry-ca
    configMap: {name: {{ .root.Values.imageVerification.registryCA.configMap | quote }}}
  {{- end }}
  {{- with $own.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The image of a container, and its security context. Takes (dict "root" $). */}}
{{- define "sekisho.image" -}}
{{- with .root.Values.image -}}
{{- $repository := required "image.repository is required: the repository of the sekisho image" .repository -}}
{{- with ($.root.Values.global).imageRegistry | default .registry }}
{{- /* As runtimes do, the first part is taken for a registry if it has a dot or a port. */}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "") }}
{{- end }}
{{- $digest := ternary (printf "@%s" .digest) "" (not (empty .digest)) -}}
image: {{ printf "%s:%s%s" $repository (.tag | default $.root.Chart.AppVersion) $digest | quote }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
{{- with .root.Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The fields that the Deployments' containers share. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.container" -}}
{{ include "sekisho.image" . }}
{{- $own := get .root.Values .component }}
{{- with $own.extraEnv }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  {{- range $field, $number := .root.Values.livenessProbe }}
  {{ $field }}: {{ $number }}
  {{- end }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  {{- range $field, $number := .root.Values.readinessProbe }}
  {{ $field }}: {{ $number }}
  {{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if and (eq .component "webhook") .root.Values.webhook.clientCA.configMap }}
  # The folder is mounted, not the file, because only then the kubelet updates it when the ConfigMap changes.
  - {name: client-ca, mountPath: /client-ca, readOnly: true}
  {{- end }}
  {{- if and (eq .component "webhook") .root.Values.imageVerification.enabled .root.Values.imageVerification.registryCA.configMap }}
  - {name: registry-ca, mountPath: /registry-ca, readOnly: true}
  {{- end }}
  {{- with $own.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
