//! `varve doctor`: says nothing is wrong of what is well, and names what is wrong.

use harness::Cluster;
use serde_json::Value;

/// Whether it ended well, and what it found.
fn doctor(cluster: &Cluster) -> (bool, Vec<Value>) {
    let output = cluster.try_varve(&["--json", "doctor"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.success(), found.as_array().expect("findings").clone())
}

fn bad_about<'a>(found: &'a [Value], subject: &str) -> Option<&'a Value> {
    found.iter().find(|finding| finding["verdict"] == "bad" && finding["subject"] == subject)
}

fn words(finding: Option<&Value>) -> String {
    let finding = finding.expect("it is found");
    assert!(finding["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "no advice: {finding}");
    finding["seen"].as_str().expect("words").to_owned()
}

#[test]
fn what_is_well_is_said_to_be_and_what_is_wrong_is_named() {
    let cluster = Cluster::up("doctor").need_not_evict("nothing is written");
    let (well, found) = doctor(&cluster);
    assert!(well, "{found:?}");
    for subject in ["parts", "clocks", "object storage", "disk", "flush", "holes"] {
        let finding = found.iter().find(|finding| finding["subject"] == subject);
        assert!(finding.is_some_and(|finding| finding["verdict"] != "bad"), "{subject}: {found:?}");
    }
    // Nothing of it is left in object storage.
    for place in ["doctor", "doctor/below"] {
        let mut left = std::fs::read_dir(cluster.directory().join("remote_storage").join(place)).unwrap();
        let file = left.find(|entry| entry.as_ref().unwrap().path().is_file());
        assert!(file.is_none(), "{file:?}");
    }

    cluster.kill("safekeeper-1");
    cluster.kill("safekeeper-2");
    let (well, found) = doctor(&cluster);
    assert!(!well);
    assert!(found.iter().any(|finding| finding["seen"].as_str().unwrap().contains("no quorum")), "{found:?}");
    cluster.varve(&["start"]);

    // A part that does not know the cluster's keys.
    let public = cluster.directory().join("auth/public");
    let kept = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&public).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, kept.path().join(path.file_name().unwrap())).unwrap();
        let stranger = auth::SigningKey::generate();
        std::fs::write(&path, stranger.public_pem()).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let (well, found) = doctor(&cluster);
    assert!(!well);
    assert!(words(bad_about(&found, "keys")).contains("does not believe this cluster's keys"), "{found:?}");
    for entry in std::fs::read_dir(kept.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, public.join(path.file_name().unwrap())).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(doctor(&cluster).0);

    // A store that cannot be written: its place is taken by a file.
    let store = cluster.directory().join("remote_storage");
    let aside = cluster.directory().join("aside");
    std::fs::rename(&store, &aside).unwrap();
    std::fs::write(&store, "no directory").unwrap();
    let (well, found) = doctor(&cluster);
    assert!(!well, "{found:?}");
    assert!(words(bad_about(&found, "object storage")).contains("remote_storage"), "{found:?}");
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    let text = cluster.varve(&["doctor"]);
    assert!(text.contains("ok    parts: all 6 are up"), "{text}");
}
