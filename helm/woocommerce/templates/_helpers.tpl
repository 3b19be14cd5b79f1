{{/* What selects an object of one component; never changes in an object's life. */}}
{{- define "woocommerce.selector" -}}
app.kubernetes.io/name: woocommerce
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "woocommerce.labels" -}}
{{ include "woocommerce.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: woocommerce
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: what selects it and whose it is, so that a new chart version alone restarts nothing. */}}
{{- define "woocommerce.podLabels" -}}
{{ include "woocommerce.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "woocommerce.secret" -}}
{{ .Values.existingSecret | default (printf "%s-credentials" .Release.Name) }}
{{- end }}

{{/* An image's full name; takes the root and the image's values. */}}
{{- define "woocommerce.image" -}}
{{ with .root.Values.imageRegistry }}{{ . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag }}{{ end }}
{{- end }}

{{- define "woocommerce.webImage" -}}
{{ include "woocommerce.image" (dict "root" . "image" (ternary .Values.plainImage .Values.image .Values.plainImage.enabled)) }}
{{- end }}

{{- define "woocommerce.webPullPolicy" -}}
{{ ternary .Values.plainImage.pullPolicy .Values.image.pullPolicy .Values.plainImage.enabled }}
{{- end }}

{{/* The pod settings that Pod Security "restricted" asks for; takes the user id. */}}
{{- define "woocommerce.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "woocommerce.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A Service called like an image's variable prefix would inject variables that the image reads. */}}
{{- define "woocommerce.pod" -}}
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

{{/* Pods that share a ReadWriteOnce volume start only on one node; a preference, so that none waits for another. */}}
{{- define "woocommerce.affinity" -}}
{{- if ne .Values.persistence.accessMode "ReadWriteMany" }}
affinity:
  podAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            {{- include "woocommerce.siteUsers" . | nindent 12 }}
{{- end }}
{{- end }}

{{/* The components that run the shop's PHP: they use its database and its uploads. */}}
{{- define "woocommerce.siteUsers" -}}
matchLabels:
  app.kubernetes.io/name: woocommerce
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [web, setup, cron]}
{{- end }}

{{- define "woocommerce.env" -}}
- {name: WORDPRESS_DB_HOST, value: {{ .Release.Name }}-db}
- {name: WORDPRESS_DB_NAME, value: wordpress}
- {name: WORDPRESS_DB_USER, value: wordpress}
- name: WORDPRESS_DB_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "woocommerce.secret" . }}, key: db-password}}
- {name: STORE_SITE_URL, value: {{ .Values.site.url | quote }}}
{{- range list "AUTH_KEY" "SECURE_AUTH_KEY" "LOGGED_IN_KEY" "NONCE_KEY" "AUTH_SALT" "SECURE_AUTH_SALT" "LOGGED_IN_SALT" "NONCE_SALT" }}
- name: WORDPRESS_{{ . }}
  valueFrom: {secretKeyRef: {name: {{ include "woocommerce.secret" $ }}, key: {{ . | lower | replace "_" "-" }}}}
{{- end }}
- name: WORDPRESS_CONFIG_EXTRA
  valueFrom: {configMapKeyRef: {name: {{ .Release.Name }}-config, key: config-extra.php}}
{{- if .Values.cache.enabled }}
- {name: STORE_CACHE_HOST, value: {{ .Release.Name }}-cache}
- name: STORE_CACHE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "woocommerce.secret" . }}, key: redis-password}}
{{- end }}
{{- end }}

{{/* Where the shop's PHP finds its settings, its uploads and, on the plain image, everything that the image lacks. */}}
{{- define "woocommerce.siteMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: config, mountPath: /usr/local/etc/php/conf.d/zz-store.ini, subPath: php.ini, readOnly: true}
{{- if .Values.plainImage.enabled }}
- {name: site, mountPath: /usr/src/wordpress, subPath: usr/src/wordpress, readOnly: true}
- {name: site, mountPath: /etc/apache2, subPath: etc/apache2, readOnly: true}
- {name: site, mountPath: /opt/store, subPath: opt/store, readOnly: true}
{{- end }}
- {name: uploads, mountPath: /usr/src/wordpress/wp-content/uploads}
{{- end }}

{{- define "woocommerce.siteVolumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
- name: config
  configMap: {name: {{ .Release.Name }}-config}
- name: uploads
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-uploads}
{{- if .Values.plainImage.enabled }}
- {name: site, emptyDir: {sizeLimit: 1Gi}}
{{- include "woocommerce.filesVolume" . }}
{{- end }}
{{- end }}

{{/* The folder of the image's own files, as the Dockerfile sees it. */}}
{{- define "woocommerce.filesVolume" }}
- name: files
  configMap:
    name: {{ .Release.Name }}-files
    items:
      {{- range $path, $_ := .Files.Glob "image/**" }}
      - {key: {{ trimPrefix "image/" $path | replace "/" "." }}, path: {{ trimPrefix "image/" $path }}}
      {{- end }}
{{- end }}

{{/* On the plain image: the container that makes of it what images/woocommerce/Dockerfile would have made. */}}
{{- define "woocommerce.plainInit" -}}
{{- if .Values.plainImage.enabled }}
initContainers:
  - name: plain-image
    image: {{ include "woocommerce.webImage" . }}
    imagePullPolicy: {{ include "woocommerce.webPullPolicy" . }}
    command: [sh, /files/install.sh]
    securityContext:
      {{- include "woocommerce.containerSecurity" . | nindent 6 }}
    resources:
      {{- toYaml .Values.setup.resources | nindent 6 }}
    env:
      - {name: FILES, value: /files}
      - {name: TARGET, value: /site}
      - {name: PLUGIN_URL, value: {{ .Values.plainImage.plugin.url | quote }}}
      - {name: PLUGIN_SHA256, value: {{ .Values.plainImage.plugin.sha256 | quote }}}
      {{- if .Values.cache.enabled }}
      - {name: CACHE_PLUGIN_URL, value: {{ .Values.plainImage.cachePlugin.url | quote }}}
      - {name: CACHE_PLUGIN_SHA256, value: {{ .Values.plainImage.cachePlugin.sha256 | quote }}}
      {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: files, mountPath: /files, readOnly: true}
      - {name: site, mountPath: /site}
{{- end }}
{{- end }}

{{/* Replaces a pod whose password was changed in the Secret. */}}
{{- define "woocommerce.credentialsAnnotation" -}}
{{- if gt (int .Values.credentialsVersion) 1 }}
credentials-version: {{ .Values.credentialsVersion | quote }}
{{- end }}
{{- end }}

{{- define "woocommerce.isPublished" -}}
{{- if or .Values.ingress.enabled .Values.gateway.enabled }}yes{{ end }}
{{- end }}

{{- define "woocommerce.isMany" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}
{{- if ne .Values.persistence.accessMode "ReadWriteMany" }}
{{- fail "replicas above 1 and autoscaling need persistence.accessMode ReadWriteMany: only one node can mount a ReadWriteOnce volume of uploads" }}
{{- end }}yes
{{- end }}
{{- end }}

{{/* The set-up's pod template; its hash names the Job, since a Job's template cannot be changed. */}}
{{- define "woocommerce.setupPod" -}}
metadata:
  labels:
    {{- include "woocommerce.podLabels" (dict "root" . "component" "setup") | nindent 4 }}
  {{- if .Values.plainImage.enabled }}
  annotations: {checksum/files: {{ include "woocommerce.files" . | sha256sum }}}
  {{- end }}
spec:
  {{- include "woocommerce.pod" . | nindent 2 }}
  {{- include "woocommerce.affinity" . | nindent 2 }}
  restartPolicy: Never
  securityContext:
    {{- include "woocommerce.podSecurity" 33 | nindent 4 }}
  {{- include "woocommerce.plainInit" . | nindent 2 }}
  containers:
    - name: setup
      image: {{ include "woocommerce.webImage" . }}
      imagePullPolicy: {{ include "woocommerce.webPullPolicy" . }}
      command: [/opt/store/setup.sh]
      securityContext:
        {{- include "woocommerce.containerSecurity" . | nindent 8 }}
      resources:
        {{- toYaml .Values.setup.resources | nindent 8 }}
      env:
        {{- include "woocommerce.env" . | nindent 8 }}
        - {name: STORE_TITLE, value: {{ .Values.store.title | toJson }}}
        - {name: STORE_ADMIN_USER, value: {{ .Values.store.adminUser | quote }}}
        - {name: STORE_ADMIN_EMAIL, value: {{ .Values.store.adminEmail | quote }}}
        - {name: STORE_ADMIN_PASSWORD_FILE, value: /run/store/admin-password}
        - {name: STORE_CURRENCY, value: {{ .Values.store.currency | quote }}}
        - {name: STORE_COUNTRY, value: {{ .Values.store.country | quote }}}
        - {name: STORE_SETUP_VERSION, value: {{ .Values.setup.version | quote }}}
        {{- if gt (int .Values.credentialsVersion) 1 }}
        - {name: STORE_CREDENTIALS_VERSION, value: {{ .Values.credentialsVersion | quote }}}
        - {name: STORE_DB_ROOT_PASSWORD_FILE, value: /run/store/db-root-password}
        {{- end }}
      volumeMounts:
        - {name: credentials, mountPath: /run/store, readOnly: true}
        {{- include "woocommerce.siteMounts" . | nindent 8 }}
  volumes:
    - name: credentials
      secret:
        secretName: {{ include "woocommerce.secret" . }}
        items:
          - {key: admin-password, path: admin-password}
          {{- if gt (int .Values.credentialsVersion) 1 }}
          - {key: db-root-password, path: db-root-password}
          {{- end }}
    {{- include "woocommerce.siteVolumes" . | nindent 4 }}
{{- end }}
