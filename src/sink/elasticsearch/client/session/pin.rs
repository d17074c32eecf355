//! An authority that is known by its fingerprint alone: the server's chain has to hold it, and is checked against it.
//!
//! For clusters that made their authority themselves, as Elasticsearch does at its first start, where it prints this fingerprint.
//! The server has to send the authority's certificate in its chain, which is what Elasticsearch's own files do.

use super::ClientError;
use crate::config::Fingerprint;
use crate::sink::disk::Secrets;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// Trusts what the authority with this fingerprint has signed.
#[derive(Debug)]
pub(super) struct Pin {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

/// The chain does not hold it.
#[derive(Debug)]
struct NotThere;

impl fmt::Display for NotThere {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "no certificate that the server sent has the fingerprint of sink.elasticsearch.tls.ca_fingerprint (does the server \
             send the certificate of its authority, too?)",
        )
    }
}

impl std::error::Error for NotThere {}

impl Pin {
    pub(super) fn new(fingerprint: Fingerprint) -> Pin {
        Pin {
            fingerprint,
            provider: Arc::new(provider::default_provider()),
        }
    }

    /// TLS that trusts it, and shows our own certificate where there is one.
    pub(super) fn config(self, secrets: &Secrets) -> Result<ClientConfig, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Authorities(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self));
        let Some((certificate, key)) = &secrets.client_pem else {
            return Ok(builder.with_no_client_auth());
        };
        let unusable = |error: String| ClientError::Identity(error);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(error.to_string()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(error.to_string()))
    }

    fn is_it(&self, certificate: &CertificateDer<'_>) -> bool {
        digest(&SHA256, certificate).as_ref() == self.fingerprint.0
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = intermediates.iter().find(|sent| self.is_it(sent)) else {
            return Err(Error::Other(OtherError(Arc::new(NotThere))));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
