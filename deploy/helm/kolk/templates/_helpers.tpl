{{- define "kolk.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "kolk.labels" -}}
app.kubernetes.io/name: kolk
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kolk.run" -}}
{{ include "kolk.labels" . }}
app.kubernetes.io/component: run
{{- end }}

{{- define "kolk.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "kolk.settings" -}}
KOLK_BROKERS: {{ .Values.brokers | quote }}
KOLK_TOPIC: {{ .Values.topic | quote }}
KOLK_GROUP: {{ .Values.group | quote }}
KOLK_STATE: {{ ternary "/var/lib/kolk/state" .Values.state.url .Values.state.volume.enabled | quote }}
{{- if or .Values.train.enabled .Values.backfill.enabled }}
KOLK_HISTORY: {{ required "train.history: the folder or URL of the Parquet files" .Values.train.history | quote }}
{{- end }}
{{- if .Values.backfill.enabled }}
KOLK_BACKFILL: {{ required "backfill.output: the folder or URL of the output" .Values.backfill.output | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "kolk.files" -}}
platform.yaml: {{ .Files.Get "files/platform.yaml" | quote }}
kafka.yaml: {{ .Values.kafka | default (.Files.Get "files/kafka.yaml") | quote }}
http.yaml: {{ .Files.Get (ternary "files/http-token.yaml" "files/http.yaml" (ne .Values.secrets.http "")) | quote }}
registry.yaml: {{ .Files.Get (ternary "files/registry-signed.yaml" "files/registry.yaml" (ne .Values.models.publicKey "")) | quote }}
{{- with .Values.models.publicKey }}
registry.pub: {{ . | quote }}
{{- end }}
pipeline.yaml: {{ .Values.pipeline | default (.Files.Get "files/pipeline.yaml") | quote }}
{{- end }}

{{- define "kolk.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "kolk.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "kolk.storeEnv" -}}
- { name: AWS_ACCESS_KEY_ID_FILE, value: /run/secrets/kolk/store/access-key-id }
- { name: AWS_SECRET_ACCESS_KEY_FILE, value: /run/secrets/kolk/store/secret-access-key }
{{- end }}

{{- define "kolk.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kolk.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "kolk.labels" .root | nindent 4 }}
spec:
  accessModes: {{ toYaml .volume.accessModes | nindent 4 }}
  {{- with .volume.storageClassName }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: { storage: {{ .volume.size }} }
{{- end }}

{{- define "kolk.spread" -}}
- maxSkew: 1
  topologyKey: {{ .key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{ include "kolk.run" .root | nindent 6 }}
{{- end }}
