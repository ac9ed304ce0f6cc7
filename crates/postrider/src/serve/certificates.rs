//! Reading the certificates and keys of the front-ends.
//!
//! Promises: a file that cannot be used is a problem of the value that names it. Refuses: watching files; a
//! reload reads them again.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Problems, Settings, TlsFiles};

/// Why STARTTLS cannot be offered.
#[derive(Debug)]
struct Unusable {
    /// The key that names the file.
    key: &'static str,
    /// What is wrong with the file.
    text: String,
}

/// What STARTTLS needs at the SMTP and the LMTP front-end, or everything that is wrong with their files.
/// Blocks on the disk.
pub(crate) fn server_configs(settings: &Settings) -> Result<[Option<Arc<ServerConfig>>; 2], Problems> {
    let mut problems = Vec::new();
    let mut read = |section: &str, files: Option<&TlsFiles>| {
        let config = files.map(server_config).transpose();
        config.unwrap_or_else(|Unusable { key, text }| {
            problems.push(settings.problem(&format!("{section}.{key}"), &text));
            None
        })
    };
    let configs = [read("smtp", settings.smtp.tls.as_ref()), read("lmtp", settings.lmtp.tls.as_ref())];
    if problems.is_empty() { Ok(configs) } else { Err(Problems(problems)) }
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, Unusable> {
    let of_chain = |text| Unusable { key: "tls_certificate", text };
    let of_key = |text| Unusable { key: "tls_key", text };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| of_chain(unreadable(&files.certificate, &error, "certificate")))?;
    if chain.is_empty() {
        return Err(of_chain(unreadable(&files.certificate, &pem::Error::NoItemsFound, "certificate")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| of_key(unreadable(&files.key, &error, "private key")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| of_chain(format!("TLS: {error}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let (certificate, key) = (files.certificate.display(), files.key.display());
            of_key(format!("{key} and {certificate} do not work together: {error}"))
        })?;
    Ok(Arc::new(config))
}

fn unreadable(path: &Path, error: &pem::Error, wanted: &str) -> String {
    let path = path.display();
    match error {
        pem::Error::Io(error) => format!("{path} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{path} holds no {wanted} in PEM"),
        error => format!("{path}: {error}"),
    }
}
