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

{{- define "woocommerce.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
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
{{- end }}

{{/* The set-up's pod template; its hash names the Job, since a Job's template cannot be changed. */}}
{{- define "woocommerce.setupPod" -}}
metadata:
  labels:
    {{- include "woocommerce.podLabels" (dict "root" . "component" "setup") | nindent 4 }}
spec:
  {{- include "woocommerce.pod" . | nindent 2 }}
  restartPolicy: Never
  securityContext:
    {{- include "woocommerce.podSecurity" 33 | nindent 4 }}
  containers:
    - name: setup
      image: {{ include "woocommerce.image" .Values.image }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
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
      volumeMounts:
        - {name: credentials, mountPath: /run/store, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        - {name: uploads, mountPath: /usr/src/wordpress/wp-content/uploads}
  volumes:
    - name: credentials
      secret:
        secretName: {{ include "woocommerce.secret" . }}
        items: [{key: admin-password, path: admin-password}]
    - {name: tmp, emptyDir: {}}
    - name: uploads
      persistentVolumeClaim: {claimName: {{ .Release.Name }}-uploads}
{{- end }}
