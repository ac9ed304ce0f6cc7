//! TLS towards next hops: which certificates are good enough at which level.
//!
//! `may` and `encrypt` take any certificate, because without DNSSEC or a policy the name of the host is not
//! known for sure, and encryption without authentication still defeats whoever only listens (RFC 7435).
//! `verify` wants a certificate for the name of the host, as looked up, that an authority of the system
//! signed. Signatures of the handshake itself are checked at every level.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::config::TlsLevel;

/// Why no TLS client could be set up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// No authority to verify certificates with.
    #[error("no certificate authorities: {reason}")]
    NoRoots {
        /// What happened to those of the system.
        reason: String,
    },
    /// The library refused.
    #[error("{0}")]
    Library(String),
}

/// The TLS client, made once and shared.
#[derive(Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
    any: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
    verified: OnceLock<Result<Arc<ClientConfig>, TlsError>>,
}

impl Tls {
    /// With the authorities of the system; they are read when the first connection wants them.
    pub fn native() -> Tls {
        Tls::new(None)
    }

    /// With these authorities.
    pub fn with_roots(roots: RootCertStore) -> Tls {
        Tls::new(Some(roots))
    }

    fn new(roots: Option<RootCertStore>) -> Tls {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Tls { provider, roots, any: OnceLock::new(), verified: OnceLock::new() }
    }

    /// What shakes hands at this level.
    pub(crate) fn connector(&self, level: TlsLevel) -> Result<TlsConnector, TlsError> {
        let config = match level {
            TlsLevel::Verify => self.verified.get_or_init(|| self.verified_config()),
            TlsLevel::None | TlsLevel::May | TlsLevel::Encrypt => self.any.get_or_init(|| self.any_config()),
        };
        config.clone().map(TlsConnector::from)
    }

    fn any_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let verifier = Arc::new(AnyCertificate { provider: Arc::clone(&self.provider) });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Library(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn verified_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => native_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Library(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn native_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = if reasons.is_empty() { "the system has none".to_owned() } else { reasons.join("; ") };
        return Err(TlsError::NoRoots { reason });
    }
    Ok(roots)
}

/// Takes every certificate, but only from somebody who holds its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
