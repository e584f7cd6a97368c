//! Bundles and sticks that hold what they should not.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::edit;
use crate::update::bench::{Clinic, Release, Vendor, bundle_in, finish, release};

#[test]
fn wrong_product_and_a_release_too_far_ahead() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    let bundle = vendor.build(&release("0.2.0", 2));
    vendor.sign_bundle(&bundle).good();
    edit(&vendor.repo().join("draft/targets.json"), |json| {
        for target in json["signed"]["targets"]
            .as_object_mut()
            .unwrap()
            .values_mut()
        {
            target["custom"]["product"] = "kettle".into();
        }
        json["signatures"] = Value::Array(Vec::new());
    });
    vendor.sign("targets-a", &[]).good();
    vendor.sign("targets-b", &[]).good();
    vendor.freshen(&[]);
    let reason = clinic.apply(&vendor.repo()).refused("wrong product: ");
    assert!(reason.contains("kettle"), "{reason}");
    // A bundle of another product under the right name.
    let kettle = rewrite(
        &bundle,
        &vendor.path("kettle.tar.zst"),
        |manifest| manifest["product"] = "kettle".into(),
        &[],
    );
    let refused = vendor.sign_bundle(&kettle).error();
    assert!(refused.contains("wrong product"), "{refused}");

    vendor.publish(&Release {
        minimum: "0.1.5",
        ..release("0.3.0", 3)
    });
    let reason = clinic.apply(&vendor.repo()).refused("too old: ");
    assert!(reason.contains("0.1.5"), "{reason}");
    clinic.untouched("0.1.0");
}

#[test]
fn huge() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let long = vendor.copy("long");
    let timestamp = fs::OpenOptions::new()
        .append(true)
        .open(long.join("metadata/timestamp.json"))
        .unwrap();
    timestamp.set_len(11 << 20).unwrap();
    clinic.apply(&long).refused("too big: ");
    let many = vendor.copy("many");
    for version in 10..2100 {
        fs::write(
            many.join(format!("metadata/{version}.snapshot.json")),
            b"{}",
        )
        .unwrap();
    }
    clinic.apply(&many).refused("too big: ");
    let longer = vendor.copy("longer");
    fs::OpenOptions::new()
        .append(true)
        .open(bundle_in(&longer))
        .unwrap()
        .write_all(b"and more")
        .unwrap();
    clinic.apply(&longer).refused("too big: ");
    let sparse = vendor.path("sparse.update");
    fs::File::create(&sparse)
        .unwrap()
        .set_len(33 << 30)
        .unwrap();
    clinic.apply(&sparse).refused("too big: ");
    // A bundle whose file swells past what its manifest says.
    let bundle = bundle_in(&vendor.repo());
    let bomb = vendor.path("bomb.tar.zst");
    rewrite(
        &bundle,
        &bomb,
        |_| {},
        &[("bin/extra", tar::EntryType::Regular, &vec![0; 30 << 20])],
    );
    swallow(&vendor, &clinic, &bomb, "too big: ");
    // And where the disk has no room for a good one, nothing is written at all.
    let whole = vendor.pack("whole.update");
    let full = finish(
        clinic
            .command(&["update", "apply", whole.to_str().unwrap()])
            .env("HADADA_UPDATE_FREE", "100000000"),
        "",
    );
    let reason = full.refused("no space: ");
    assert!(
        reason.contains("100 MB free") && reason.contains("Make room"),
        "{reason}"
    );
    clinic.untouched("0.1.0");
}

/// Two people sign a bundle that a thief of the build machine made; the box must not swallow it all the same.
fn swallow(vendor: &Vendor, clinic: &Clinic, bundle: &Path, rule: &str) {
    let repository = format!("repo-{}", bundle.file_stem().unwrap().to_string_lossy());
    let copy = vendor.copy(&repository);
    for entry in fs::read_dir(copy.join("metadata")).unwrap() {
        let path = entry.unwrap().path();
        // As if nothing had been signed since the box was installed.
        if path.ends_with("2.targets.json") {
            fs::remove_file(path).unwrap();
        }
    }
    let run = |key: &str, more: &[&str]| vendor.sign_in(&repository, key, more).good();
    run("targets-a", &["--bundle", bundle.to_str().unwrap()]);
    for key in ["targets-b", "snapshot-s", "timestamp-t"] {
        run(key, &[]);
    }
    clinic.apply(&copy).refused(rule);
    fs::remove_dir_all(copy).unwrap();
    // The box has seen these; what comes next must be newer.
    vendor.freshen(&[]);
    vendor.freshen(&[]);
}

/// A bundle with its manifest changed and more entries at its end.
fn rewrite(
    bundle: &Path,
    target: &Path,
    change: impl FnOnce(&mut Value),
    more: &[(&str, tar::EntryType, &[u8])],
) -> PathBuf {
    let mut old = tar::Archive::new(zstd::Decoder::new(fs::File::open(bundle).unwrap()).unwrap());
    let mut new =
        tar::Builder::new(zstd::Encoder::new(fs::File::create(target).unwrap(), 1).unwrap());
    let mut change = Some(change);
    for entry in old.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut header = entry.header().clone();
        if let Some(change) = change.take() {
            let mut manifest: Value = serde_json::from_reader(&mut entry).unwrap();
            change(&mut manifest);
            let bytes = serde_json::to_vec(&manifest).unwrap();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            new.append(&header, bytes.as_slice()).unwrap();
        } else {
            new.append(&header, &mut entry).unwrap();
        }
    }
    for (name, kind, content) in more {
        new.append(&raw_header(name, *kind, content.len() as u64), *content)
            .unwrap();
    }
    new.into_inner().unwrap().finish().unwrap();
    target.into()
}

/// A header with any name, also such as a careful library would not write.
fn raw_header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    if kind == tar::EntryType::Symlink {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    header
}

#[test]
fn path_traversal_and_links() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let bundle = bundle_in(&vendor.repo());

    // Inside a bundle that was even signed.
    for (name, rule) in [
        ("../../../evil", "path traversal: "),
        ("/tmp/evil", "path traversal: "),
        ("bin/.hidden", "path traversal: "),
    ] {
        let bad = rewrite(
            &bundle,
            &vendor.path("traversal.tar.zst"),
            |_| {},
            &[(name, tar::EntryType::Regular, b"evil")],
        );
        swallow(&vendor, &clinic, &bad, rule);
    }
    let linked = rewrite(
        &bundle,
        &vendor.path("linked.tar.zst"),
        |_| {},
        &[("bin/passwords", tar::EntryType::Symlink, b"")],
    );
    swallow(&vendor, &clinic, &linked, "symlink: ");
    let unlisted = rewrite(
        &bundle,
        &vendor.path("unlisted.tar.zst"),
        |_| {},
        &[("bin/more", tar::EntryType::Regular, b"x")],
    );
    swallow(&vendor, &clinic, &unlisted, "tampered: ");
    let listed = rewrite(
        &bundle,
        &vendor.path("listed.tar.zst"),
        |manifest| manifest["files"][0]["path"] = "../../evil".into(),
        &[],
    );
    let refused = vendor.sign_bundle(&listed).error();
    assert!(refused.contains("path traversal"), "{refused}");
    assert!(!clinic.path("opt/evil").exists() && !clinic.path("evil").exists());

    // In the file that carries it.
    for (name, kind, rule) in [
        (
            "metadata/../../../evil",
            tar::EntryType::Regular,
            "path traversal: ",
        ),
        (
            "metadata/timestamp.json",
            tar::EntryType::Symlink,
            "symlink: ",
        ),
    ] {
        let path = vendor.path("bad.update");
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        tar.append(&raw_header(name, kind, 0), &b""[..]).unwrap();
        tar.into_inner().unwrap();
        clinic.apply(&path).refused(rule);
    }

    // On the stick.
    let secret = vendor.path("secret");
    fs::write(&secret, "the box's own").unwrap();
    let stick = vendor.copy("stick");
    fs::remove_file(stick.join("metadata/timestamp.json")).unwrap();
    symlink(&secret, stick.join("metadata/timestamp.json")).unwrap();
    clinic.apply(&stick).refused("symlink: ");
    let stick = vendor.copy("stick2");
    let path = bundle_in(&stick);
    fs::rename(&path, vendor.path("moved")).unwrap();
    symlink(vendor.path("moved"), &path).unwrap();
    clinic.apply(&stick).refused("symlink: ");
    let stick = vendor.copy("stick3");
    fs::rename(stick.join("targets"), vendor.path("moved-targets")).unwrap();
    symlink(vendor.path("moved-targets"), stick.join("targets")).unwrap();
    clinic.apply(&stick).refused("symlink: ");
    clinic.untouched("0.1.0");
}

#[test]
fn swapped_after_it_was_checked() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    let evil = vendor.build(&Release {
        faults: "{'version': 'evil'}",
        ..release("0.2.0", 9)
    });
    vendor.publish(&release("0.2.0", 2));
    let stick = vendor.copy("stick");
    let hold = clinic.path("hold");
    let meanwhile = |point: &str, swap: &dyn Fn()| {
        fs::write(&hold, "").unwrap();
        let reached = hold.with_extension("reached");
        let mut command = clinic.command(&["update", "apply", stick.to_str().unwrap()]);
        command.env("HADADA_UPDATE_HOLD", format!("{point}={}", hold.display()));
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| finish(&mut command, ""));
            while !reached.exists() {
                assert!(!applying.is_finished(), "{:?}", applying.join().unwrap());
                std::thread::sleep(Duration::from_millis(20));
            }
            swap();
            fs::remove_file(&hold).unwrap();
            fs::remove_file(&reached).unwrap();
            applying.join().unwrap()
        })
    };
    // Between the signatures and the bundle.
    let said = meanwhile("verify.middle", &|| {
        fs::copy(&evil, bundle_in(&stick)).unwrap();
    });
    assert!(
        said.err.contains("refused: tampered") || said.err.contains("refused: too big"),
        "{said:?}"
    );
    // Even in the private copy, by somebody who is root already.
    let good = bundle_in(&vendor.repo());
    fs::copy(&good, bundle_in(&stick)).unwrap();
    let said = meanwhile("unpack.before", &|| {
        fs::copy(&evil, clinic.path("update/private/bundle.tar.zst")).unwrap();
    });
    said.refused("swapped: ");
    clinic.untouched("0.1.0");
    // The stick is swapped after everything was read: what was checked is installed.
    let said = meanwhile("verify.after", &|| {
        fs::remove_dir_all(&stick).unwrap();
        fs::create_dir(&stick).unwrap();
    });
    said.good();
    clinic.runs_wholly("0.2.0", "1");
}
