{{- define "postrider.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "postrider.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "postrider.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "postrider.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What does not change over the life of a release: selectors are made of it. */}}
{{- define "postrider.selector" -}}
app.kubernetes.io/name: {{ include "postrider.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "postrider.labels" -}}
{{ include "postrider.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postrider
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
What each role is: whether it has the broker, the database, the way out; its ports, and which of `doors` it
keeps; whether HPA scales
it, and the streams whose consumers tell KEDA what waits for it.
*/}}
{{- define "postrider.roles" -}}
settings-api: {broker: true, database: true, outside: true, hpa: true, door: admin, ports: {http: 8080, admin: 9092}}
ingest: {broker: true, hpa: true, door: ingest, ports: {grpc: 9090, http: 9091}}
fanout: {broker: true, waits: [EVENTS]}
dispatcher: {broker: true, outside: true, waits: [DELIVERIES]}
archive: {broker: true, database: true, waits: [EVENTS, OUTCOMES]}
console: {hpa: true, ports: {http: 8081}}
request-bin: {ports: {http: 8090}}
{{- end -}}

{{- define "postrider.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of one role. What a newer version writes to the streams is of use to nobody but newer readers. */}}
{{- define "postrider.imageOf" -}}
{{- $keep := .root.Values.upgrade.keep -}}
{{- if and $keep (has .role (list "settings-api" "ingest" "console")) -}}
{{ .root.Values.image.repository }}{{ ternary "@" ":" (hasPrefix "sha256:" $keep) }}{{ $keep }}
{{- else -}}
{{ include "postrider.image" .root }}
{{- end -}}
{{- end -}}

{{- define "postrider.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "postrider.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* A duration of docs/configuration.md, in whole seconds, rounded up. */}}
{{- define "postrider.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}{{ div (add $number 999) 1000 }}
{{- else if eq $unit "s" -}}{{ $number }}
{{- else if eq $unit "m" -}}{{ mul $number 60 }}
{{- else if eq $unit "h" -}}{{ mul $number 3600 }}
{{- else if eq $unit "d" -}}{{ mul $number 86400 }}
{{- else -}}{{ fail (printf "%s is no duration such as 25s or 1m" .) }}
{{- end -}}
{{- end -}}

{{/* A setting of one role: its own, else everybody's, else the default. Takes root, role, name, default. */}}
{{- define "postrider.setting" -}}
{{- $own := index .root.Values.roles .role "config" | default dict -}}
{{- get $own .name | default (get .root.Values.config .name) | default .default -}}
{{- end -}}

{{/*
Everything that a stopping pod may need: until nobody is sent to it any more, until what is in flight
has ended, and ten seconds for the last acknowledgements, the last traces and the end of the process. Takes root, role.
*/}}
{{- define "postrider.grace" -}}
{{- $drain := include "postrider.setting" (dict "root" .root "role" .role "name" "POSTRIDER_DRAIN_TIMEOUT" "default" "25s") -}}
{{- add .root.Values.preStopSeconds (include "postrider.seconds" $drain | int64) 10 -}}
{{- end -}}

{{- define "postrider.brokerUrl" -}}
{{- if .Values.broker.url -}}
{{ .Values.broker.url }}
{{- else if .Values.nats.enabled -}}
{{- $scheme := ternary "tls" "nats" (not (empty .Values.nats.tls.secret)) -}}
{{ $scheme }}://{{ .Release.Name }}-nats:4222
{{- end -}}
{{- end -}}

{{- define "postrider.brokerMonitoring" -}}
{{- .Values.broker.monitoring | default (ternary (printf "%s-nats-headless.%s.svc:8222" .Release.Name .Release.Namespace) "" .Values.nats.enabled) -}}
{{- end -}}

{{/* Settings that are keys of Secrets. */}}
{{- define "postrider.secretEnv" -}}
{{- range $setting, $from := . }}
- name: {{ $setting }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.secret }}
      key: {{ $from.key }}
{{- end }}
{{- end -}}

{{/* Where a door's files are, for its role. Takes the door's name and its values. */}}
{{- define "postrider.doorEnv" -}}
{{- $prefix := printf "POSTRIDER_%s" (upper .name) -}}
{{- if .door.tls }}
- name: {{ $prefix }}_TLS_CERT
  value: /etc/postrider/door/tls.crt
- name: {{ $prefix }}_TLS_KEY
  value: /etc/postrider/door/tls.key
{{- end }}
{{- if .door.clientCa }}
- name: {{ $prefix }}_CLIENT_CA
  value: /etc/postrider/door/client-ca.crt
{{- end }}
{{- if .door.tokens }}
- name: {{ $prefix }}_TOKENS_FILE
  value: /etc/postrider/door/tokens
{{- end }}
{{- end -}}

{{/* What gRPC is spoken over at a door. */}}
{{- define "postrider.grpc" -}}
{{- ternary "https" "kubernetes.io/h2c" (not (empty .tls)) -}}
{{- end -}}

{{/* The "restricted" profile of the pod security standards. */}}
{{- define "postrider.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "postrider.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Replicas that there are at least. Takes root, role. */}}
{{- define "postrider.fewest" -}}
{{- $role := index .root.Values.roles .role -}}
{{- if eq (include "postrider.scaled" .) "true" -}}{{ $role.autoscaling.minReplicas }}{{- else -}}{{ $role.replicas }}{{- end -}}
{{- end -}}

{{/* Whether somebody else sets the number of replicas. Takes root, role. */}}
{{- define "postrider.scaled" -}}
{{- $role := index .root.Values.roles .role -}}
{{- $is := index (include "postrider.roles" .root | fromYaml) .role -}}
{{- and $role.autoscaling.enabled (or $is.hpa (and $is.waits .root.Values.keda.enabled)) | not | not -}}
{{- end -}}
