//! What a box says of itself, and what must be so after an update or a refusal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Clinic;

impl Clinic {
    /// What the running program says of itself.
    pub fn status(&self) -> Option<Value> {
        use std::io::{Read, Write};
        let mut socket =
            std::os::unix::net::UnixStream::connect(self.path("run/admin.sock")).ok()?;
        socket
            .write_all(b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()
    }

    #[track_caller]
    pub fn wait_for(&self, pointer: &str, good: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self
            .status()
            .and_then(|status| status.pointer(pointer).map(&good))
            .unwrap_or(false)
        {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{pointer}: {:?} {}",
                self.status(),
                fs::read_to_string(self.path("program.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn current(&self) -> String {
        let link = fs::read_link(self.path("opt/current")).unwrap();
        link.file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn fact(&self) -> Value {
        self.json("facts/update.json")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("systemctl.log")).unwrap_or_default()
    }

    /// The box runs exactly this release: its program, its files in place, its units, nothing half done, every row there.
    #[track_caller]
    pub fn runs_wholly(&self, version: &str, rows: &str) {
        assert_eq!(self.current(), version);
        self.wait_for("/version", |running| running == version);
        let status = self.status().unwrap();
        assert_eq!(
            (status["database"].as_str(), status["migrations"].as_str()),
            (Some("ok"), Some("current")),
            "{status}"
        );
        let slot = self.path(&format!("opt/releases/{version}"));
        let manifest: Value =
            serde_json::from_slice(&fs::read(slot.join("manifest.json")).unwrap()).unwrap();
        let mut units = BTreeMap::new();
        for file in manifest["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let content = fs::read(slot.join(path)).unwrap();
            assert_eq!(
                content.len() as u64,
                file["size"].as_u64().unwrap(),
                "{path}"
            );
            if let Some(unit) = path
                .strip_prefix("systemd/")
                .filter(|unit| !unit.contains('/'))
            {
                units.insert(unit.to_owned(), content);
            }
        }
        for entry in fs::read_dir(self.path("etc/systemd/system")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_str().unwrap().to_owned();
            // The guard stays the last confirmed release's.
            if name != "hadada-update-guard.service" {
                assert_eq!(
                    units.remove(&name).as_deref(),
                    Some(&*fs::read(entry.path()).unwrap()),
                    "{name}"
                );
            }
        }
        units.remove("hadada-update-guard.service");
        assert!(units.is_empty(), "missing units: {:?}", units.keys());
        assert!(
            !self.path("update/journal.json").exists(),
            "an update is under way still"
        );
        assert_eq!(
            fs::read_dir(self.path("update/private")).unwrap().count(),
            0,
            "the private copy is still there"
        );
        assert!(
            !self.database_exists("_update"),
            "the scratch copy is still there"
        );
        for entry in fs::read_dir(self.path("opt/releases")).unwrap() {
            let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
            assert!(
                !name.ends_with(".unpacking") && !name.ends_with(".new"),
                "{name} is left over"
            );
        }
        assert_eq!(self.rows(), rows, "acknowledged rows");
    }

    /// A refusal changed nothing: no program was even stopped.
    #[track_caller]
    pub fn untouched(&self, version: &str) {
        self.runs_wholly(version, "1");
        let mut said = String::new();
        for line in self.log().lines().filter(|line| line.starts_with("stop")) {
            writeln!(said, "{line}").unwrap();
        }
        assert_eq!(said, "", "programs were stopped");
        assert!(
            self.fact()["said"]
                .as_str()
                .unwrap()
                .contains("was not installed"),
            "{}",
            self.fact()
        );
    }
}
