{{/*
Prefix of all names. At most 38 characters, so that pod names fit into a host name: "-webhook-" and a hash of 16 follow. Names of Services
must begin with a letter and have no dots, and Helm allows both in names of releases.
*/}}
{{- define "sekisho.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if not (regexMatch "^[a-z][-a-z0-9]*$" .Release.Name) -}}
{{ fail (printf "the release's name %q cannot be used for a Service, which must begin with a letter and have no dots: set fullnameOverride" .Release.Name) }}
{{- else if contains "sekisho" .Release.Name -}}
{{ .Release.Name | trunc 38 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-sekisho" (.Release.Name | trunc 30 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{/*
Fails if another release has the custom resource definitions and is still installed. Helm's own error would not say what to do. After the
other one was uninstalled, `--take-ownership` takes over the definitions that it kept.
*/}}
{{- define "sekisho.checkNoOtherRelease" -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "clusterpodpolicies.sekisho.dev" }}
{{- $other := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $crd }}
{{- $namespace := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $crd }}
{{- if and $other (ne (printf "%s/%s" $namespace $other) (printf "%s/%s" .Release.Namespace .Release.Name)) }}
{{- $name := contains "sekisho" $other | ternary $other (printf "%s-sekisho" $other) }}
{{- $configuration := lookup "admissionregistration.k8s.io/v1" "ValidatingWebhookConfiguration" "" $name }}
{{- if eq $other (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $configuration) }}
{{- fail (printf "the release %q in the namespace %q is already installed in this cluster. To change it, run helm upgrade %s --namespace %s. For a second release, set crds.install=false, and list the namespace of each in excludeNamespaces of the other" $other $namespace $other $namespace) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The name of a Deployment's ServiceAccount. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.serviceAccount" -}}
{{- (get .root.Values .component).serviceAccount.name | default (printf "%s-%s" (include "sekisho.fullname" .root) .component) -}}
{{- end -}}

{{/*
Fails if both Deployments have the same ServiceAccount: each would have the permissions of both. And if one has the account "default": all
pods of the namespace without an account of their own would have its permissions.
*/}}
{{- define "sekisho.checkServiceAccounts" -}}
{{- $webhook := include "sekisho.serviceAccount" (dict "root" . "component" "webhook") }}
{{- range $component := list "webhook" "controller" }}
{{- if eq (include "sekisho.serviceAccount" (dict "root" $ "component" $component)) "default" }}
{{- fail (printf "%s.serviceAccount.name must not be \"default\": other pods of the namespace have this account too" $component) }}
{{- end }}
{{- end }}
{{- if eq $webhook (include "sekisho.serviceAccount" (dict "root" . "component" "controller")) }}
{{- fail (printf "webhook.serviceAccount.name and controller.serviceAccount.name must be different: %q would have the permissions of both" $webhook) }}
{{- end }}
{{- end -}}

{{/* Fails if the webhook would listen two times on one port, or if the API server would deny its pods. */}}
{{- define "sekisho.checkNetwork" -}}
{{- if and .Values.webhook.hostNetwork (not .Values.hostUsers) }}
{{- fail "hostUsers must be true with webhook.hostNetwork: a pod in the node's network cannot have a user namespace of its own" }}
{{- end }}
{{- if eq (int .Values.webhook.port) (int .Values.webhook.metricsPort) }}
{{- fail (printf "webhook.port and webhook.metricsPort must be different: both are %v" .Values.webhook.port) }}
{{- end }}
{{- end -}}

{{/* The labels that Deployments select. They must never change. Takes (dict "root" $ "component" NAME). */}}
{{- define "sekisho.selectorLabels" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of pods. Takes the same argument. */}}
{{- define "sekisho.podLabels" -}}
{{- include "sekisho.selectorLabels" . }}
{{- $added := merge dict ((get .root.Values .component).podLabels | default dict) (.root.Values.podLabels | default dict) (.root.Values.commonLabels | default dict) }}
{{- with omit $added "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The annotations of pods, empty if there are none. Takes the same argument. */}}
{{- define "sekisho.podAnnotations" -}}
{{- with merge dict ((get .root.Values .component).podAnnotations | default dict) (.root.Values.podAnnotations | default dict) -}}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of all objects of the release. */}}
{{- define "sekisho.labels" -}}
{{ include "sekisho.labelsWith" (dict "root" . "added" dict) }}
{{- end -}}

{{/* The same for an object with labels of its own. Takes (dict "root" $ "added" LABELS). */}}
{{- define "sekisho.labelsWith" -}}
{{- $own := include "sekisho.ownLabels" .root | fromYaml }}
{{- toYaml (merge $own (.added | default dict) (omit (.root.Values.commonLabels | default dict) "app.kubernetes.io/component")) }}
{{- end -}}

{{- define "sekisho.ownLabels" -}}
app.kubernetes.io/name: sekisho
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* Namespaces whose pods are not sent to the webhooks: exact names without duplicates. */}}
{{- define "sekisho.excludedNamespaces" -}}
{{ concat (list "kube-system" .Release.Namespace) (.Values.excludeNamespaces | default list) | uniq | toYaml }}
{{- end -}}

{{/* Host names and addresses of the webhook in the API server's calls, as a YAML list. */}}
{{- define "sekisho.servingNames" -}}
{{- if .Values.webhook.url -}}
- {{ (urlParse .Values.webhook.url).hostname | quote }}
{{- else -}}
{{- $service := printf "%s-webhook.%s.svc" (include "sekisho.fullname" .) .Release.Namespace -}}
- {{ $service }}
- {{ $service }}.cluster.local
{{- end -}}
{{- end -}}

{{/*
The Secret with the secret part of the webhooks' paths, by which the webhook recognizes the API server. Empty if nobody makes that part.
*/}}
{{- define "sekisho.pathSecret" -}}
{{- if or (include "sekisho.controllerSetsPaths" .) (include "sekisho.secretPath" .) -}}
{{ include "sekisho.fullname" . }}-webhook-path
{{- end -}}
{{- end -}}

{{/*
Whether the controller makes the secret part, and sets the paths in the webhook configurations. In mode cert-manager it may not, and a URL
has its path in it.
*/}}
{{- define "sekisho.controllerSetsPaths" -}}
{{- if not (or .Values.webhook.secretPath .Values.webhook.url (eq .Values.certificates.mode "cert-manager")) -}}
true
{{- end -}}
{{- end -}}

{{/*
The secret part that the chart sets: the value, else that of the Secret in the cluster, else a new one. Empty if the controller sets it, or
if the chart is rendered without a cluster: each rendering would then make another one. It is kept in Values, to be the same in all files.
*/}}
{{- define "sekisho.secretPath" -}}
{{- if not (or .Values.webhook.secretPath (include "sekisho.controllerSetsPaths" .)) }}
{{- $stored := lookup "v1" "Secret" .Release.Namespace (printf "%s-webhook-path" (include "sekisho.fullname" .)) }}
{{- if dig "data" "path" "" $stored }}
{{- $_ := set .Values.webhook "secretPath" ($stored.data.path | b64dec) }}
{{- else if lookup "v1" "Namespace" "" "kube-system" }}
{{- $_ := set .Values.webhook "secretPath" (randAlphaNum 64 | sha256sum | trunc 32) }}
{{- end }}
{{- end }}
{{- .Values.webhook.secretPath | default "" -}}
{{- end -}}

{{/* The Secret with the webhook's certificate. cert-manager's has its own name: it needs another type, and types cannot change. */}}
{{- define "sekisho.certificateSecret" -}}
{{- if eq .Values.certificates.mode "secret" -}}
{{ required "certificates.secretName is required when certificates.mode is secret: a Secret with tls.crt, tls.key and ca.crt" .Values.certificates.secretName }}
{{- else -}}
{{ printf "%s-webhook-%s" (include "sekisho.fullname" .) (ternary "tls" "cert-manager" (eq .Values.certificates.mode "self")) }}
{{- end -}}
{{- end -}}
