{{- /*
The pod of a worker or of a job. Takes `root` (the chart's context), `args`, `component`; with `ends` it is a Job's.
*/}}
{{- define "dicomcast.pod" -}}
{{- $values := .root.Values }}
metadata:
  labels:
    {{- include "dicomcast.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- if $values.workloadIdentity.enabled }}
    azure.workload.identity/use: "true"
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change of the settings starts the pods anew.
    checksum/settings: {{ include "dicomcast.environment" .root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "dicomcast.serviceAccount" .root }}
  automountServiceAccountToken: {{ $values.workloadIdentity.enabled }}
  # Nobody needs the addresses of other Services as variables.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- if .ends }}
  restartPolicy: Never
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  containers:
    - name: dicomcast
      image: {{ include "dicomcast.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ .args | toJson }}
      envFrom:
        - configMapRef:
            name: {{ include "dicomcast.fullname" .root }}
      {{- with $values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if not .ends }}
      {{- include "dicomcast.probes" .root | nindent 6 }}
      {{- end }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      {{- with include "dicomcast.mounts" .root | trim }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
  {{- with include "dicomcast.volumes" .root | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity | default (include "dicomcast.affinity" . | fromYaml) }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /*
/livez is the loop's heartbeat and asks no peer: a restart mends nothing where a peer is away. /readyz does, so that
`kubectl rollout status` and a dashboard see it; nothing is sent to a pod for that.
*/}}
{{- define "dicomcast.probes" -}}
ports:
  - name: health
    containerPort: {{ include "dicomcast.healthPort" . }}
startupProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{- define "dicomcast.mounts" -}}
{{- if include "dicomcast.sqlite" . }}
- name: state
  mountPath: /var/lib/dicomcast
{{- end }}
{{- if .Values.secrets.existingSecret }}
# Below /run/secrets and not there, where tokens of service accounts are mounted too.
- name: secrets
  mountPath: /run/secrets/dicomcast
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dicomcast.volumes" -}}
{{- if include "dicomcast.sqlite" . }}
- name: state
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "dicomcast.fullname" .) }}
{{- end }}
{{- with .Values.secrets.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A replay goes to the node that has the volume; two workers go to different ones. */}}
{{- define "dicomcast.affinity" -}}
{{- $selector := dict "matchLabels" (include "dicomcast.selector" .root | fromYaml | merge (dict "app.kubernetes.io/component" "worker")) }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector }}
{{- if and .root.Values.standby (eq .component "worker") }}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) }}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution: {{ toJson $preferred }}
{{- else if and (eq .component "replay") (eq .root.Values.mode "deployment") (include "dicomcast.sqlite" .root) }}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution: {{ toJson (list $term) }}
{{- end }}
{{- end }}

{{- /* What a Job does about exit codes (docs/reference/errors.md): 70 and 75 are tried again, the others need somebody. */}}
{{- define "dicomcast.failurePolicy" -}}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        containerName: dicomcast
        operator: In
        values: [1, 2, 77, 78]
    # A pod that was moved to another node did not fail.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
{{- end }}
