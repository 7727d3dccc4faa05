{{/* The fields that both Deployments' pods share. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.podSpec" -}}
serviceAccountName: {{ include "sekisho.fullname" .root }}-{{ .component }}
automountServiceAccountToken: true
# Otherwise the Service's variable SEKISHO_WEBHOOK_PORT=tcp://... would be read as the option --port of `sekisho webhook`.
enableServiceLinks: false
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "sekisho.selectorLabels" . | nindent 14 }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- include "sekisho.selectorLabels" . | nindent 8 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  # In memory, because TLS libraries only read private keys from files, and keys must not be written to the node's disk.
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
  {{- if and (eq .component "webhook") .root.Values.webhook.clientCA.configMap }}
  - name: client-ca
    configMap: {name: {{ .root.Values.webhook.clientCA.configMap }}}
  {{- end }}
{{- end -}}

{{/* The fields that their containers share. Takes the same argument. */}}
{{- define "sekisho.container" -}}
{{- with .root.Values.image -}}
{{- $repository := required "image.repository is required: the registry and repository of the sekisho image" .repository -}}
{{- $digest := ternary (printf "@%s" .digest) "" (ne .digest "") -}}
image: {{ printf "%s:%s%s" $repository (.tag | default $.root.Chart.AppVersion) $digest | quote }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if and (eq .component "webhook") .root.Values.webhook.clientCA.configMap }}
  # The folder is mounted, not the file, because only then the kubelet updates it when the ConfigMap changes.
  - {name: client-ca, mountPath: /client-ca, readOnly: true}
  {{- end }}
{{- end -}}
