//! Which release this program belongs to.

use std::path::Path;
use std::sync::LazyLock;

static RELEASE: LazyLock<Option<String>> = LazyLock::new(|| {
    let program = std::env::current_exe().ok()?;
    of_release(program.parent()?.parent()?)
});

/// The release this program was installed with, as its manifest says, which the vendor signed; outside a release (a demo, a
/// test) the package's own version. An update is finished only when the running program names the very release that was
/// installed.
#[must_use]
pub fn version() -> &'static str {
    RELEASE.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))
}

fn of_release(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join("manifest.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
    if manifest.get("product")? != "hadada" {
        return None;
    }
    Some(manifest.get("version")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_says_its_version_and_a_stray_file_does_not() {
        let folder = std::env::temp_dir().join(format!("hadada-version-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(of_release(&folder), None);
        let write = |text: &str| std::fs::write(folder.join("manifest.json"), text).unwrap();
        write(r#"{"product":"other","version":"9.9.9"}"#);
        assert_eq!(of_release(&folder), None);
        write(r#"{"product":"hadada","version":"1.2.3"}"#);
        assert_eq!(of_release(&folder).unwrap(), "1.2.3");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
