//! A certificate that signs itself.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A key with a certificate that nobody but the test knows.
#[derive(Debug)]
pub struct Certificate {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Certificate {
    /// For these names, or addresses.
    pub fn for_names(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are names");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a fresh key is a key");
        Certificate {
            certificate: made.cert.der().clone(),
            key,
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// The certificate as the text of a file.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key as the text of a file.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// What a server needs.
    pub fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("the key belongs to the certificate");
        Arc::new(config)
    }

    /// What a client needs to trust this certificate and no other.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a fresh certificate parses");
        roots
    }
}
