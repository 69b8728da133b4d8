{{- /*
The settings as variables: YAML of NAME: text. A mapping is a group, but for the one setting whose value is a mapping.
*/}}
{{- define "dicomcast.variables" -}}
{{- range $name, $value := .tree }}
{{- $variable := printf "%s%s" $.prefix (upper $name) }}
{{- if and (kindIs "map" $value) (ne $variable "DICOMCAST_PATIENT__ISSUERS") }}
{{- include "dicomcast.variables" (dict "prefix" (printf "%s__" $variable) "tree" $value) }}
{{- else if kindIs "map" $value }}
{{ $variable }}: {{ $value | toJson | quote }}
{{- else if kindIs "slice" $value }}
{{ $variable }}: {{ $value | join "," | quote }}
{{- else if kindIs "float64" $value }}
{{ $variable }}: {{ $value | int64 | quote }}
{{- else if not (kindIs "invalid" $value) }}
{{ $variable }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dicomcast.environment" -}}
{{- $given := include "dicomcast.variables" (dict "prefix" "DICOMCAST_" "tree" .Values.settings) | fromYaml }}
{{- $own := dict }}
{{- if include "dicomcast.sqlite" . }}
{{- $_ := set $own "DICOMCAST_STATE__URL" "sqlite:////var/lib/dicomcast/state.db" }}
{{- end }}
{{- if .Values.secrets.existingSecret }}
{{- $_ := set $own "DICOMCAST_SECRETS_DIR" "/run/secrets/dicomcast" }}
{{- end }}
{{- merge $given $own | toYaml }}
{{- end }}

{{- /* "true" where the state is a file, which needs a volume; what extraEnv says of it is another store. */}}
{{- define "dicomcast.sqlite" -}}
{{- $elsewhere := false }}
{{- range .Values.extraEnv }}
{{- if eq (upper .name) "DICOMCAST_STATE__URL" }}{{ $elsewhere = true }}{{ end }}
{{- end }}
{{- $url := dig "state" "url" "" .Values.settings | default "sqlite:" }}
{{- if and (hasPrefix "sqlite:" $url) (not $elsewhere) }}true{{ end }}
{{- end }}

{{- define "dicomcast.healthPort" -}}
{{- required "settings.health.port: a Deployment is watched by its health port" (dig "health" "port" nil .Values.settings) | int64 }}
{{- end }}
