{{- define "dicomcast.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* 40 characters at most: a CronJob adds 11, its pods six more, and a replay a digest. */}}
{{- define "dicomcast.fullname" -}}
{{- $name := include "dicomcast.name" . }}
{{- $release := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $release | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "dicomcast.selector" -}}
app.kubernetes.io/name: {{ include "dicomcast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dicomcast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dicomcast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dicomcast.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "dicomcast.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "dicomcast.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* What selects the series of this release: its pods, of which both kinds of monitor tell the names. */}}
{{- define "dicomcast.series" -}}
namespace="{{ .Release.Namespace }}", pod=~"{{ include "dicomcast.fullname" . }}-.*"
{{- end }}
