{{- define "kolk.volumes" -}}
- name: models
  persistentVolumeClaim: { claimName: {{ include "kolk.name" . }}-models }
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- if .Values.state.volume.enabled }}
- name: state
  persistentVolumeClaim: { claimName: {{ include "kolk.name" . }}-state }
{{- end }}
{{- with .Values.secrets.kafka }}
- name: kafka
  secret: { secretName: {{ . }}, defaultMode: 288 }
{{- end }}
{{- with .Values.secrets.store }}
- name: store
  secret: { secretName: {{ . }}, defaultMode: 288 }
{{- end }}
{{- end }}
