//! Signatures that are missing, too few, of the wrong people, or of a root that skipped a step.

use std::fs;

use serde_json::Value;

use super::edit;
use crate::update::bench::{Clinic, Vendor, bundle_in, copy_folder, release};
use crate::update::good::rotate;

#[test]
fn unsigned() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let bare = vendor.copy("bare");
    for entry in fs::read_dir(bare.join("metadata")).unwrap() {
        edit(&entry.unwrap().path(), |json| {
            json["signatures"] = Value::Array(Vec::new())
        });
    }
    clinic.apply(&bare).refused("unsigned: ");
    // Taken from one part only, which then is no longer the part that the others name.
    for (left, reason) in [
        (0, "unsigned: the targets metadata carries no signature"),
        (
            1,
            "too few signatures: the targets metadata carries 1 of the 2 it must have",
        ),
    ] {
        let stripped = vendor.copy(&format!("stripped-{left}"));
        edit(&stripped.join("metadata/2.targets.json"), |json| {
            json["signatures"].as_array_mut().unwrap().truncate(left)
        });
        clinic.apply(&stripped).refused(reason);
    }
    // Signed by people, but not ours; their own root comes along.
    let stranger = Vendor::stranger();
    stranger.publish(&release("0.1.9", 1));
    stranger.publish(&release("0.2.0", 2));
    clinic.apply(&stranger.repo()).refused("unsigned: ");
    clinic
        .apply(&stranger.pack("theirs.update"))
        .refused("unsigned: ");
    // With our vendor's timestamp on top, their parts do not fit it.
    let mixed = vendor.copy("mixed");
    copy_folder(&stranger.repo().join("metadata"), &mixed.join("metadata"));
    fs::copy(
        vendor.repo().join("metadata/timestamp.json"),
        mixed.join("metadata/timestamp.json"),
    )
    .unwrap();
    clinic.apply(&mixed).refused("mix and match: ");
    clinic.untouched("0.1.0");
}

#[test]
fn tampered() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    vendor.publish(&release("0.2.0", 2));
    let bundle = vendor.copy("bundle");
    let path = bundle_in(&bundle);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    clinic.apply(&bundle).refused("tampered: ");
    let short = vendor.copy("short");
    let path = bundle_in(&short);
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(middle as u64)
        .unwrap();
    clinic.apply(&short).refused("tampered: ");
    let timestamp = vendor.copy("timestamp");
    edit(&timestamp.join("metadata/timestamp.json"), |json| {
        json["signed"]["version"] = 99.into()
    });
    clinic.apply(&timestamp).refused("unsigned: ");
    let garbage = vendor.copy("garbage");
    fs::write(garbage.join("metadata/timestamp.json"), b"{").unwrap();
    clinic.apply(&garbage).refused("tampered: ");
    clinic.untouched("0.1.0");
}

#[test]
fn signed_by_one_key_where_two_are_needed() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    let bundle = vendor.build(&release("0.2.0", 2));
    let half = vendor.sign_bundle(&bundle).good();
    assert!(half.contains("one more signature is needed"), "{half}");
    // Again with the same key is still one person; somebody then puts it in place all the same.
    let again = vendor.sign("targets-a", &[]).good();
    assert!(again.contains("one more signature is needed"), "{again}");
    let one = vendor.repo().join("metadata/2.targets.json");
    fs::copy(vendor.repo().join("draft/targets.json"), &one).unwrap();
    vendor.freshen(&[]);
    let reason = clinic.apply(&vendor.repo()).refused("too few signatures: ");
    assert!(reason.contains("1 of the 2 people"), "{reason}");
    // Nor does one signature count twice.
    edit(&one, |json| {
        let signature = json["signatures"][0].clone();
        json["signatures"].as_array_mut().unwrap().push(signature);
    });
    vendor.freshen(&[]);
    clinic.apply(&vendor.repo()).refused("tampered: ");
    clinic.untouched("0.1.0");
}

#[test]
fn root_rotation_skipped() {
    let vendor = Vendor::new();
    let clinic = Clinic::new(&vendor);
    rotate(&vendor);
    for key in ["root-a", "root-b", "root-d", "root-e"] {
        vendor.sign(key, &[]).good();
    }
    // And once more, with another timestamp key.
    vendor.new_key("timestamp", "u");
    vendor
        .run(&[
            "release",
            "keys",
            "rotate",
            "--repository",
            "repo",
            "--timestamp-key",
            "keys/timestamp-u.pub",
        ])
        .good();
    vendor.sign("root-e", &[]).good();
    vendor.sign("root-f", &[]).good();
    let bundle = vendor.build(&release("0.2.0", 2));
    vendor.sign_bundle(&bundle).good();
    vendor.sign("targets-b", &[]).good();
    vendor.sign("snapshot-s", &[]).good();
    vendor.sign("timestamp-u", &[]).good();
    let gap = vendor.copy("gap");
    fs::remove_file(gap.join("metadata/2.root.json")).unwrap();
    let reason = clinic.apply(&gap).refused("root rotation skipped: ");
    assert!(
        reason.contains("root 3 is offered without root 2"),
        "{reason}"
    );
    // A second root that only its own keys signed.
    let usurped = vendor.copy("usurped");
    edit(&usurped.join("metadata/2.root.json"), |json| {
        json["signatures"].as_array_mut().unwrap().drain(..2);
    });
    clinic.apply(&usurped).refused("unsigned: the root");
    // And one that only one of the old ones did.
    let half = vendor.copy("half");
    edit(&half.join("metadata/2.root.json"), |json| {
        json["signatures"].as_array_mut().unwrap().remove(0);
    });
    clinic
        .apply(&half)
        .refused("too few signatures: the root metadata is signed by 1 of the 2");
    clinic.untouched("0.1.0");
    clinic.apply(&vendor.repo()).good();
    clinic.runs_wholly("0.2.0", "1");
    assert_eq!(clinic.json("update/root.json")["signed"]["version"], 3);
}
