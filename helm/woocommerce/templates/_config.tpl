{{/* Settings of the shop's programs. */}}
{{- define "woocommerce.config" -}}
# WordPress keeps its address in the database; these constants win over it, so that the address may change.
config-extra.php: |
  $url = getenv('STORE_SITE_URL');
  if (!$url && PHP_SAPI !== 'cli' && preg_match('/^[A-Za-z0-9.-]+(:[0-9]{1,5})?$/', $_SERVER['HTTP_HOST'] ?? '')) {
      $secure = !empty($_SERVER['HTTPS']) && $_SERVER['HTTPS'] !== 'off';
      $url = ($secure ? 'https://' : 'http://') . $_SERVER['HTTP_HOST'];
  }
  define('WP_HOME', $url ?: 'http://store.local');
  define('WP_SITEURL', WP_HOME);
  define('DISABLE_WP_CRON', true);
  define('AUTOMATIC_UPDATER_DISABLED', true);
  define('DISALLOW_FILE_MODS', true);
  define('WP_HTTP_BLOCK_EXTERNAL', {{ not .Values.networkPolicy.allowInternet }});
php.ini: |
  memory_limit = {{ .Values.php.memoryLimit }}
  upload_max_filesize = {{ .Values.php.uploadLimit }}
  post_max_size = {{ .Values.php.uploadLimit }}
  expose_php = Off
  ; The log of a failed connection would show the beginning of the password.
  zend.exception_ignore_args = On
  session.cookie_httponly = On
  session.use_strict_mode = On
apache.conf: |
  <IfModule mpm_prefork_module>
    StartServers 2
    MinSpareServers 1
    MaxSpareServers 4
    ServerLimit {{ .Values.php.workers }}
    MaxRequestWorkers {{ .Values.php.workers }}
    MaxConnectionsPerChild 500
  </IfModule>
  ServerName localhost
  ServerTokens Prod
  ServerSignature Off
  TraceEnable Off
  Header always set X-Content-Type-Options nosniff
  Header always set X-Frame-Options SAMEORIGIN
  Header always set Referrer-Policy strict-origin-when-cross-origin
  Header always set Permissions-Policy "camera=(), geolocation=(), microphone=()"
  {{- if hasPrefix "https://" .Values.site.url }}
  Header always set Strict-Transport-Security "max-age=31536000"
  {{- end }}
  # The set-up Job installs and upgrades; the other one is an old interface for guessing passwords.
  <LocationMatch "^/(xmlrpc\.php|wp-admin/install\.php)">
    Require all denied
  </LocationMatch>
  # Nothing that was uploaded is ever run.
  <Directory /usr/src/wordpress/wp-content/uploads>
    AllowOverride None
    <FilesMatch "(?i)\.(php|phar|phtml|pht)">
      Require all denied
    </FilesMatch>
  </Directory>
backup.sh: |
  {{- include "woocommerce.backupScript" . | nindent 2 }}
{{ include "woocommerce.firstStart" . }}
{{- end }}

{{/* Settings of the cache, of which nothing has to outlive the pod; their hash restarts it. */}}
{{- define "woocommerce.valkeyConfig" -}}
bind * -::*
port 6379
dir /tmp
save ""
appendonly no
maxmemory {{ .Values.cache.maxMemory }}
maxmemory-policy allkeys-lru
include /run/valkey/auth.conf
{{- end }}

{{/* The files of images/woocommerce, which a pod on the plain image gets from here. */}}
{{- define "woocommerce.files" -}}
{{- range $path, $content := .Files.Glob "image/**" }}
{{ trimPrefix "image/" $path | replace "/" "." }}: {{ toString $content | toJson }}
{{- end }}
{{- end }}
