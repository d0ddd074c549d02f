{{- define "genspan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A release that is called like the chart is enough of a name. */}}
{{- define "genspan.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains (include "genspan.name" .) .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "genspan.name" .) | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "genspan.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "genspan.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "genspan.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "genspan.selector" -}}
app.kubernetes.io/name: {{ include "genspan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "genspan.labels" -}}
{{ include "genspan.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The agent's configuration file. */ -}}
{{- define "genspan.config" -}}
{{- toYaml .Values.rules }}
kubernetes:
  {{- with .Values.kubernetes }}
  api: {{ ternary (ternary "kubelet" "auto" .kubelet.enabled) "off" .enabled | quote }}
  {{- if and .enabled .kubelet.enabled }}
  kubelet:
    {{- if .kubelet.insecureSkipVerify }}
    insecure_skip_verify: true
    {{- else }}
    certificate_authority: {{ .kubelet.certificateAuthority | quote }}
    {{- end }}
    interval_seconds: {{ .kubelet.intervalSeconds }}
  {{- end }}
  {{- end }}
  labels:
    {{- toYaml .Values.kubernetes.labels | nindent 4 }}
  annotations:
    {{- toYaml .Values.kubernetes.annotations | nindent 4 }}
  well_known_labels: {{ .Values.kubernetes.wellKnownLabels }}
{{- end -}}
