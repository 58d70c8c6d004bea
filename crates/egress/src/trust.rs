//! A certificate authority for one sandbox: its key is in this process's memory and nowhere else, its certificate lies in
//! the sandbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha1::{Digest as _, Sha1};

use crate::Error;
use crate::host::Host;

/// Hosts whose certificates are kept: each is made in less than a millisecond.
const LEAVES_MAX: usize = 256;

/// How long a certificate is good: longer than any sandbox lives, shorter than what Apple's and Mozilla's rules allow.
const DAYS: i64 = 90;

/// The password of a Java trust store, which hides nothing: `keytool`'s own default.
pub const STORE_PASSWORD: &str = "changeit";

/// The authorities that a machine trusts.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Those of this machine (`SSL_CERT_FILE`, or the system's own).
    #[must_use]
    pub fn system() -> Self {
        Self(rustls_native_certs::load_native_certs().certs)
    }

    /// These.
    #[must_use]
    pub const fn of(certificates: Vec<CertificateDer<'static>>) -> Self {
        Self(certificates)
    }

    /// A TLS client that trusts them, and offers HTTP/2 and HTTP/1.1.
    pub(crate) fn client(&self) -> Result<ClientConfig, Error> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.0.iter().cloned());
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(store)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    leaves: Mutex<HashMap<Host, Arc<ServerConfig>>>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = params("Legwork egress of one sandbox", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, leaves: Mutex::default() })
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A TLS server that is taken for this host by who trusts the authority.
    pub(crate) fn server(&self, host: &Host) -> Result<Arc<ServerConfig>, Error> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = leaves.get(host) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.leaf(host)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(host.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn leaf(&self, host: &Host) -> Result<ServerConfig, Error> {
        let key = KeyPair::generate()?;
        let name = match host {
            Host::Name(name) => name.clone(),
            Host::Ip(address) => address.to_string(),
        };
        let mut params = params(&name.chars().take(64).collect::<String>(), vec![name])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn params(name: &str, hosts: Vec<String>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    // A day back: clocks differ, and `faketime` of tests goes backwards.
    params.not_before = (now - day).into();
    params.not_after = (now + day * u32::try_from(DAYS).unwrap_or(1)).into();
    Ok(params)
}

/// Certificates as text (RFC 7468).
pub(crate) fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        for line in body.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

impl Roots {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

/// Certificates as a trust store that every Java reads: the format JKS, as `sun.security.provider.JavaKeyStore` defines
/// it. PKCS#12, Java's newer default, would need its encryption for nothing that is secret.
pub(crate) fn java_store<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut count = 0u32;
    for certificate in certificates {
        let alias = format!("legwork-{count}");
        count += 1;
        // A trusted certificate: 2, its alias, its time, its type, its bytes.
        entries.extend(2u32.to_be_bytes());
        entries.extend(utf(&alias));
        entries.extend(0u64.to_be_bytes());
        entries.extend(utf("X.509"));
        entries.extend(u32::try_from(certificate.len()).unwrap_or(0).to_be_bytes());
        entries.extend_from_slice(certificate);
    }
    let mut store = Vec::new();
    store.extend(0xfeed_feedu32.to_be_bytes());
    store.extend(2u32.to_be_bytes());
    store.extend(count.to_be_bytes());
    store.extend(entries);
    let mut digest = Sha1::new();
    digest.update(STORE_PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(&digest.finalize());
    store
}

/// A text of ASCII with its length, as Java writes it.
fn utf(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text.as_bytes()].concat()
}
