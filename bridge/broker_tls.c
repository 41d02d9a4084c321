#include "bridge/broker_tls.h"

#include "bridge/broker_reach.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME_MAX_TEXT 64 /* of a name in a certificate that is worth a log line */

/* ---- the files --------------------------------------------------------------------------- */

/* The library would ask on the terminal, and wait. */
static int no_password(char *out, int size, int writing, void *ctx)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)ctx = true;
    return 0;
}

static bool load_key(SSL_CTX *tls, const struct broker_options *o, const char **key, char *why,
                     size_t size)
{
    const char *path = o->key_file != NULL ? o->key_file : o->cert_file;
    bool encrypted = false;
    *key = o->key_file != NULL ? "key_file" : "cert_file";
    SSL_CTX_set_default_passwd_cb(tls, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(tls, &encrypted);
    ERR_clear_error();
    if (SSL_CTX_use_PrivateKey_file(tls, path, SSL_FILETYPE_PEM) == 1)
        return true;
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    if (encrypted)
        snprintf(why, size, "the key in \"%s\" has a password; remove it with openssl pkey", path);
    else if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH)
        snprintf(why, size, "\"%s\" is not the key of the certificate in \"%s\"", path,
                 o->cert_file);
    else if (o->key_file != NULL)
        snprintf(why, size, "no private key in PEM form in \"%s\"", path);
    else
        snprintf(why, size, "no private key in \"%s\"; if it is elsewhere, set key_file", path);
    return false;
}

/* NULL, and *key and why say which file cannot be used. */
static SSL_CTX *load(const struct broker_options *o, const char **key, char *why, size_t size)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    *key = "url";
    if (tls == NULL) {
        snprintf(why, size, "TLS cannot be used: no memory");
        return NULL;
    }
    if (o->ca_file == NULL) {
        SSL_CTX_set_default_verify_paths(tls);
    } else if (SSL_CTX_load_verify_locations(tls, o->ca_file, NULL) != 1) {
        *key = "ca_file";
        snprintf(why, size, "no certificate in PEM form in \"%s\"", o->ca_file);
        SSL_CTX_free(tls);
        return NULL;
    }
    if (o->cert_file == NULL)
        return tls;
    if (SSL_CTX_use_certificate_chain_file(tls, o->cert_file) != 1) {
        *key = "cert_file";
        snprintf(why, size, "no certificate in PEM form in \"%s\"", o->cert_file);
    } else if (load_key(tls, o, key, why, size)) {
        return tls;
    }
    SSL_CTX_free(tls);
    return NULL;
}

bool broker_tls_check(const struct broker_options *o, const char **key, char *why, size_t why_size)
{
    SSL_CTX *tls = load(o, key, why, why_size);
    SSL_CTX_free(tls);
    ERR_clear_error();
    return tls != NULL;
}

/* ---- an attempt ---------------------------------------------------------------------------- */

struct attempt {
    const struct broker_options *options;
    const char *host;
    int fault;  /* X509_V_OK, or what is wrong with the broker's certificate */
    X509 *cert; /* the one it is about; of the broker or of who signed */
    int alert;  /* what the broker said at last; -1: nothing */
};

static int on_verify(int good, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct attempt *a = SSL_get_app_data(ssl);
    if (!good && a->fault == X509_V_OK) {
        a->fault = X509_STORE_CTX_get_error(store);
        a->cert = X509_STORE_CTX_get_current_cert(store);
        if (a->cert != NULL)
            X509_up_ref(a->cert);
    }
    return good;
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct attempt *a = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && (value & 0xFF) != SSL_AD_CLOSE_NOTIFY)
        a->alert = value & 0xFF;
}

static void common_name(const X509_NAME *name, char *out, size_t size)
{
    if (name == NULL || X509_NAME_get_text_by_NID(name, NID_commonName, out, (int)size) < 0)
        snprintf(out, size, "somebody");
}

/* The first host name that a certificate is for. */
static void host_name(const X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    out[0] = '\0';
    for (int i = 0; out[0] == '\0' && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            snprintf(out, size, "%.*s", ASN1_STRING_length(name->d.dNSName),
                     (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        else if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == 4) {
            const unsigned char *ip = ASN1_STRING_get0_data(name->d.iPAddress);
            snprintf(out, size, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
        }
    }
    GENERAL_NAMES_free(names);
    if (out[0] == '\0')
        common_name(X509_get_subject_name(cert), out, size);
}

static void date(const ASN1_TIME *time, char *out, size_t size)
{
    struct tm tm = {0};
    if (time != NULL)
        ASN1_TIME_to_tm(time, &tm);
    strftime(out, size, "%Y-%m-%d %H:%M", &tm);
}

static void today(char *out, size_t size)
{
    const time_t now = time(NULL);
    struct tm tm;
    strftime(out, size, "%Y-%m-%d %H:%M", gmtime_r(&now, &tm));
}

static void explain_certificate(const struct attempt *a, char *why, size_t size)
{
    char name[NAME_MAX_TEXT] = "somebody";
    char when[32] = "";
    char now[32];
    today(now, sizeof now);
    switch (a->fault) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        common_name(X509_get_subject_name(a->cert), name, sizeof name);
        date(X509_get0_notAfter(a->cert), when, sizeof when);
        snprintf(why, size,
                 "the broker's certificate \"%s\" expired %s; renew it, or set the clock, which "
                 "says %s",
                 name, when, now);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        common_name(X509_get_subject_name(a->cert), name, sizeof name);
        date(X509_get0_notBefore(a->cert), when, sizeof when);
        snprintf(why, size,
                 "the broker's certificate \"%s\" is valid from %s; set the clock, which says %s",
                 name, when, now);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        host_name(a->cert, name, sizeof name);
        snprintf(why, size, "the broker's certificate is for \"%s\", not for \"%s\" as in url",
                 name, a->host);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        if (a->cert != NULL)
            common_name(X509_get_issuer_name(a->cert), name, sizeof name);
        if (a->options->ca_file != NULL)
            snprintf(why, size,
                     "the broker's certificate is signed by \"%s\", which is not in ca_file = %s",
                     name, a->options->ca_file);
        else
            snprintf(why, size,
                     "the broker's certificate is signed by \"%s\", unknown to this system; set "
                     "ca_file",
                     name);
        return;
    default:
        snprintf(why, size, "the broker's certificate is not good: %s",
                 X509_verify_cert_error_string(a->fault));
        return;
    }
}

static void explain_alert(const struct attempt *a, char *why, size_t size)
{
    const char *cert = a->options->cert_file;
    switch (a->alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_CERTIFICATE_REQUIRED:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_DECRYPT_ERROR:
        if (cert == NULL)
            snprintf(why, size, "the broker wants our certificate; set cert_file and key_file");
        else
            snprintf(why, size, "the broker does not accept our certificate, cert_file = %s: %s",
                     cert, SSL_alert_desc_string_long(a->alert));
        return;
    default:
        snprintf(why, size, "the broker refused TLS: %s", SSL_alert_desc_string_long(a->alert));
        return;
    }
}

static void set_patience(int fd, uint32_t wait_ms)
{
    const struct timeval wait = {.tv_sec = wait_ms / 1000,
                                 .tv_usec = (suseconds_t)(wait_ms % 1000) * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

/* The certificate must be for the host as url has it, a name or an address. */
static void expect_host(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1)
        return;
    char name[256];
    snprintf(name, sizeof name, "%s", host);
    SSL_set1_host(ssl, host);
    SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name);
}

/* True: both sides are content. */
static bool shake_hands(SSL *ssl, const struct attempt *a, char *why, size_t size)
{
    char none;
    ERR_clear_error();
    const int rc = SSL_connect(ssl);
    const int error = SSL_get_error(ssl, rc);
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    if (rc == 1)
        SSL_read(ssl, &none, 1); /* nothing, unless the broker refuses our certificate */
    if (a->fault != X509_V_OK)
        explain_certificate(a, why, size);
    else if (a->alert >= 0)
        explain_alert(a, why, size);
    else if (rc == 1)
        return true;
    else if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        snprintf(why, size, "no answer to TLS; is this the broker's port for TLS?");
    else if (error == SSL_ERROR_SSL && reason != SSL_R_WRONG_VERSION_NUMBER &&
             reason != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        snprintf(why, size, "TLS failed: %s", ERR_reason_error_string(ERR_peek_last_error()));
    else
        snprintf(why, size,
                 "the broker speaks no TLS at this port; another port, or tcp:// in url?");
    return false;
}

static bool attempt(SSL_CTX *tls, struct attempt *a, uint16_t port, uint32_t wait_ms, char *why,
                    size_t size)
{
    const int fd = broker_reach_open(a->host, port, wait_ms, why, size);
    SSL *ssl = fd < 0 ? NULL : SSL_new(tls);
    bool good = false;
    a->fault = X509_V_OK;
    a->alert = -1;
    if (ssl != NULL) {
        set_patience(fd, wait_ms);
        SSL_set_app_data(ssl, a);
        SSL_set_info_callback(ssl, on_info);
        if (a->options->verify) {
            SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
            expect_host(ssl, a->host);
        }
        SSL_set_fd(ssl, fd);
        good = shake_hands(ssl, a, why, size);
        X509_free(a->cert);
        SSL_free(ssl);
    }
    if (fd >= 0)
        close(fd);
    ERR_clear_error();
    return good;
}

bool broker_tls_reach(const struct broker_options *o, const char *host, uint16_t port,
                      uint32_t wait_ms, char *why, size_t why_size)
{
    const char *key;
    SSL_CTX *tls = load(o, &key, why, why_size);
    struct attempt a = {.options = o, .host = host};
    const bool good = tls != NULL && attempt(tls, &a, port, wait_ms, why, why_size);
    SSL_CTX_free(tls);
    return good;
}

bool broker_tls_is_spoken(const char *host, uint16_t port, uint32_t wait_ms)
{
    char why[256];
    const struct broker_options nobody = {.verify = false};
    struct attempt a = {.options = &nobody, .host = host, .alert = -1};
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    const bool spoken =
        tls != NULL && (attempt(tls, &a, port, wait_ms, why, sizeof why) || a.alert >= 0);
    SSL_CTX_free(tls);
    return spoken;
}
