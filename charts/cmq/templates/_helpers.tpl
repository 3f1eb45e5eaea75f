{{/* The name that all objects share. */}}
{{- define "cmq.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cmq.operator" -}}
{{ include "cmq.fullname" . }}-operator
{{- end -}}

{{- define "cmq.selectorLabels" -}}
app.kubernetes.io/name: cmq-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "cmq.labels" -}}
{{ include "cmq.selectorLabels" . }}
app.kubernetes.io/part-of: cmq
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cmq.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "cmq.operator" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "cmq.lease" -}}
{{ default (include "cmq.operator" .) .Values.leaderElection.leaseName }}
{{- end -}}

{{/* The reference of an image: a dict of "image" and the root as "root". */}}
{{- define "cmq.image" -}}
{{- with .image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.root.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the operator, its uninstall hook and its test are told alike. */}}
{{- define "cmq.environment" -}}
- name: CMQ_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: CMQ_OPERATOR_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: CMQ_OPERATOR_LEASE_NAME
  value: {{ include "cmq.lease" . }}
{{- with .Values.watchNamespaces }}
- name: CMQ_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: CMQ_OPERATOR_LOG_FORMAT
  value: {{ .Values.logging.format }}
- name: CMQ_OPERATOR_LOG
  value: {{ .Values.logging.level | quote }}
{{- end -}}

{{/* What all pods of the operator's image have: a dict of "root" and the indented rest is the caller's. */}}
{{- define "cmq.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
