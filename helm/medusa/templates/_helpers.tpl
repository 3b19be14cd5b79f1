{{/* What selects an object of one component; never changes in an object's life. */}}
{{- define "medusa.selector" -}}
app.kubernetes.io/name: medusa
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "medusa.labels" -}}
{{ include "medusa.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: medusa
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: what selects it and whose it is, so that a new chart version alone restarts nothing. */}}
{{- define "medusa.podLabels" -}}
{{ include "medusa.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "medusa.secret" -}}
{{ .Values.existingSecret | default (printf "%s-credentials" .Release.Name) }}
{{- end }}

{{/* An image's full name; takes the root and the image's values. */}}
{{- define "medusa.image" -}}
{{ with .root.Values.imageRegistry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag }}{{ end }}
{{- end }}

{{- define "medusa.shopImage" -}}
{{ include "medusa.image" (dict "root" . "image" .Values.image) }}
{{- end }}

{{/* The pod settings that Pod Security "restricted" asks for; takes the user id. */}}
{{- define "medusa.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "medusa.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A Service called like an image's variable prefix would inject variables that the image reads. */}}
{{- define "medusa.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The components that run the shop's software: they use its database and its cache. */}}
{{- define "medusa.dataUsers" -}}
matchLabels:
  app.kubernetes.io/name: medusa
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [web, worker, setup]}
{{- end }}

{{/* Whether a controller outside the namespace publishes the shop. */}}
{{- define "medusa.isPublished" -}}
{{- if or .Values.ingress.enabled .Values.gateway.enabled }}true{{ end }}
{{- end }}

{{/* Whether more than one server may run; fails where the volume of uploads forbids it. */}}
{{- define "medusa.isMany" -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}
{{- if and $many (ne .Values.persistence.accessMode "ReadWriteMany") }}
{{- fail "persistence.accessMode: more than one server needs ReadWriteMany, since all of them write uploads" }}
{{- end }}
{{- if $many }}true{{ end }}
{{- end }}

{{/* Where the shop's software finds what it needs; takes root and the worker mode. */}}
{{- define "medusa.env" -}}
{{- $secret := include "medusa.secret" .root }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: database-url}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: redis-url}}
- name: JWT_SECRET
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: jwt-secret}}
- name: COOKIE_SECRET
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: cookie-secret}}
- name: STORE_PROBE_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: probe-token}}
- {name: MEDUSA_WORKER_MODE, value: {{ .mode }}}
- {name: STORE_SITE_URL, value: {{ .root.Values.site.url | quote }}}
- {name: STORE_ALLOWED_ORIGINS, value: {{ join "," .root.Values.site.allowedOrigins | quote }}}
- {name: STORE_SETUP_VERSION, value: {{ .root.Values.setup.version | quote }}}
{{- if gt (int .root.Values.credentialsVersion) 1 }}
- {name: STORE_CREDENTIALS_VERSION, value: {{ .root.Values.credentialsVersion | quote }}}
{{- end }}
{{- end }}

{{/* Holds a pod back until the set-up of this very image is recorded: without its tables the software ends at once. */}}
{{- define "medusa.awaitSetup" -}}
- name: await-setup
  image: {{ include "medusa.shopImage" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [node, src/tools/await-set-up.js]
  securityContext:
    {{- include "medusa.containerSecurity" .root | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 64Mi}
    limits: {cpu: 200m, memory: 128Mi}
  env:
    {{- include "medusa.env" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "medusa.volumes" -}}
- {name: tmp, emptyDir: {}}
- name: uploads
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-uploads}
{{- end }}

{{/* The set-up's pod template; its hash names the Job, since a Job's template cannot be changed. */}}
{{- define "medusa.setupPod" -}}
metadata:
  labels:
    {{- include "medusa.podLabels" (dict "root" . "component" "setup") | nindent 4 }}
spec:
  {{- include "medusa.pod" . | nindent 2 }}
  restartPolicy: Never
  securityContext:
    {{- include "medusa.podSecurity" 1000 | nindent 4 }}
  containers:
    - name: setup
      image: {{ include "medusa.shopImage" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [node, src/tools/set-up.js]
      securityContext:
        {{- include "medusa.containerSecurity" . | nindent 8 }}
      resources:
        {{- toYaml .Values.setup.resources | nindent 8 }}
      env:
        {{- include "medusa.env" (dict "root" . "mode" "shared") | nindent 8 }}
        - {name: STORE_TITLE, value: {{ .Values.store.title | toJson }}}
        - {name: STORE_ADMIN_EMAIL, value: {{ .Values.store.adminEmail | quote }}}
        - {name: STORE_ADMIN_PASSWORD_FILE, value: /run/store/admin-password}
        - {name: STORE_CURRENCY, value: {{ .Values.store.currency | quote }}}
        - {name: STORE_COUNTRY, value: {{ .Values.store.country | quote }}}
        - {name: STORE_SAMPLE_PRODUCT, value: {{ .Values.store.sampleProduct | quote }}}
      volumeMounts:
        - {name: credentials, mountPath: /run/store, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: credentials
      secret:
        secretName: {{ include "medusa.secret" . }}
        items: [{key: admin-password, path: admin-password}]
    - {name: tmp, emptyDir: {}}
{{- end }}

{{/* Replaces a pod whose password was changed in the Secret. */}}
{{- define "medusa.credentialsAnnotation" -}}
{{- if gt (int .Values.credentialsVersion) 1 }}
credentials-version: {{ .Values.credentialsVersion | quote }}
{{- end }}
{{- end }}

{{/* Settings of the cache; their hash restarts it. */}}
{{- define "medusa.valkeyConfig" -}}
bind * -::*
port 6379
dir /data
save ""
appendonly yes
appendfsync everysec
maxmemory {{ .Values.cache.maxMemory }}
maxmemory-policy noeviction
include /run/valkey/auth.conf
{{- end }}

{{/* Runs before the image's own entrypoint. That one takes any database that it finds for a finished one: after a first
start that was cut off, the server would never get the shop's user. */}}
{{- define "medusa.firstStart" -}}
first-start.sh: |
  #!/bin/sh
  set -eu
  if [ -e "$FIRST_START_MARK" ]; then
    echo "the first start was cut off: it begins anew" >&2
    rm -rf "$PGDATA"
  elif [ ! -e "$PGDATA/PG_VERSION" ]; then
    : > "$FIRST_START_MARK"
  fi
  exec docker-entrypoint.sh "$@"
# The entrypoint runs it last, when user and database are there.
first-start-done.sh: |
  #!/bin/sh
  rm "$FIRST_START_MARK"
{{- end }}
