{{/* What the pods of both Deployments have in common. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.podSpec" -}}
serviceAccountName: {{ include "sekisho.fullname" .root }}-{{ .component }}
automountServiceAccountToken: true
# The Service's own variables (SEKISHO_WEBHOOK_PORT=tcp://...) would be read as the option --port of `sekisho webhook`.
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
  # In memory: TLS libraries read a private key from a file only, and it shall not touch the node's disk.
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
  {{- if and (eq .component "webhook") .root.Values.webhook.clientCA.configMap }}
  - name: client-ca
    configMap: {name: {{ .root.Values.webhook.clientCA.configMap }}}
  {{- end }}
{{- end -}}

{{/* What their containers have in common. The same argument. */}}
{{- define "sekisho.container" -}}
{{- with .root.Values.image -}}
{{- $repository := required "image.repository is required: the registry and repository that hold the sekisho image" .repository -}}
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
  # The folder and not the file: only then do changes of the ConfigMap arrive.
  - {name: client-ca, mountPath: /client-ca, readOnly: true}
  {{- end }}
{{- end -}}
