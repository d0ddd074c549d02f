//! A certificate authority and a server's certificate for loopback, made anew for every checkout.

use crate::paths;
use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The names that the server goes by.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files, in one directory: `ca.pem`, `server.pem`, `server.key`.
pub(crate) struct Certs {
    /// The directory.
    pub(crate) dir: PathBuf,
}

impl Certs {
    /// What a client is to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The server's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// The server's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("server.key")
    }
}

/// The certificates, made if they are not there.
pub(crate) fn ensure() -> Result<Certs> {
    let certs = Certs {
        dir: paths::target().join("certs"),
    };
    let files = [certs.authority(), certs.certificate(), certs.key()];
    if !files.iter().all(|file| file.is_file()) {
        fs::create_dir_all(&certs.dir)
            .with_context(|| format!("cannot make {}", certs.dir.display()))?;
        make(&certs).context("cannot make certificates for loopback")?;
    }
    Ok(certs)
}

fn make(certs: &Certs) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "genspan's stand-in authority");
    let authority_key = KeyPair::generate()?;
    let authority_cert = authority.self_signed(&authority_key)?;

    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python 3.13 and later refuse a certificate without it.
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate()?;
    let server_cert = server.signed_by(&server_key, &Issuer::new(authority, authority_key))?;

    // The authority's own key is not kept: nothing else can be signed with it.
    write(&certs.authority(), &authority_cert.pem(), 0o644)?;
    write(&certs.certificate(), &server_cert.pem(), 0o644)?;
    write(&certs.key(), &server_key.serialize_pem(), 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
