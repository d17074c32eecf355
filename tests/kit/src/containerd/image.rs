//! An image without a registry: a docker archive of one layer, made by tar.

use super::run;
use crate::runtime::{RuntimeError, failed, make_root};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name. Nothing but this containerd knows it.
pub(super) const IMAGE: &str = "localhost/longshore-kit:1";

/// Makes the archive below `dir`: busybox, and a command that does nothing, which is what a pod's sandbox runs.
pub(super) fn make(dir: &Path, busybox: &Path) -> Result<PathBuf, RuntimeError> {
    let (root, parts) = (dir.join("rootfs"), dir.join("image"));
    let prepared = make_root(&root, busybox)
        .and_then(|()| fs::create_dir(root.join("node")))
        .and_then(|()| fs::create_dir(&parts));
    prepared.map_err(|e| failed("prepare the image", &e))?;
    let layer = parts.join("layer.tar");
    tar(&root, &layer, &["."])?;
    let sum = run(Command::new("sha256sum").arg(&layer))?;
    let sum = sum.split(' ').next().unwrap_or_default();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Cmd": ["/bin/sleep", "86400"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(parts.join("config.json"), config.to_string())
        .and_then(|()| fs::write(parts.join("manifest.json"), manifest.to_string()))
        .map_err(|e| failed("write the image", &e))?;
    let archive = dir.join("image.tar");
    tar(&parts, &archive, &["layer.tar", "config.json", "manifest.json"])?;
    Ok(archive)
}

fn tar(from: &Path, to: &Path, what: &[&str]) -> Result<(), RuntimeError> {
    let mut command = Command::new("tar");
    command.arg("-C").arg(from).arg("-cf").arg(to).args(what);
    run(&mut command).map(drop)
}
