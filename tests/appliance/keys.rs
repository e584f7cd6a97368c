//! Another master key: the records open at every step of the change, and with the key before no longer after it.

use hadada::ids::PracticeId;
use hadada::keys::{Keyring, MasterError, Place, change_master, check_keys, forget_previous};

use crate::support::Clinic;

const NEXT: [u8; 32] = [9; 32];

/// As the web program starts with this master key.
fn started_with(clinic: &Clinic, master: &[u8]) -> Keyring {
    let path = clinic.folder.path().join("started.key");
    std::fs::write(&path, master).unwrap();
    Keyring::load(
        clinic.app.db.keys.clone(),
        &path,
        &clinic.config.recovery_key,
    )
    .unwrap()
}

#[tokio::test]
async fn the_records_open_at_every_step_of_a_change_of_the_master_key() {
    let clinic = Clinic::start().await;
    let practice = clinic.practice.id;
    let id = clinic.patient("Zwane", "Thandiwe").await;
    let now = std::fs::read(&clinic.config.master_key).unwrap();
    let place = || Place::new("x", id.0);
    let sealed = started_with(&clinic, &now)
        .patient(practice, id)
        .await
        .unwrap()
        .seal_text(place(), "The knee.")
        .unwrap();
    let opens = async |master: &[u8]| {
        let key = started_with(&clinic, master).patient(practice, id).await;
        key.is_ok_and(|key| key.open_text(place(), &sealed).unwrap() == "The knee.")
    };
    let unsent = async |master: &[u8]| {
        started_with(&clinic, master)
            .local_copy_key(practice, clinic.practice.admin)
            .await
            .unwrap()
    };
    let before = unsent(&now).await;
    let both = format!("{}\n{}\n", hex::encode(&now), hex::encode(NEXT));
    let next = hex::encode(NEXT);

    for typed in ["", "abc\n", &both[..65], &format!("{both}{both}")] {
        assert!(matches!(
            change_master(&clinic.config, typed).await,
            Err(MasterError::Typed(2))
        ));
    }
    // The last step first: it would lock everybody out.
    assert!(matches!(
        forget_previous(&clinic.config, &next).await,
        Err(MasterError::Closed(_))
    ));
    assert!(opens(&now).await && !opens(&NEXT).await);

    let done = change_master(&clinic.config, &both).await.unwrap();
    assert_eq!((done.practices, done.rewrapped, done.kept), (2, 2, 0));
    assert!(opens(&now).await && opens(&NEXT).await);
    assert_eq!(check_keys(&clinic.config).await.unwrap(), 2);

    // A web program that still has the key before makes a practice meanwhile; then the change goes on.
    let third = PracticeId(uuid::Uuid::now_v7());
    clinic.app.keys.create_practice(third).await.unwrap();
    assert!(matches!(
        forget_previous(&clinic.config, &next).await,
        Err(MasterError::Closed(closed)) if closed == third
    ));
    assert!(opens(&now).await && opens(&NEXT).await);
    let done = change_master(&clinic.config, &both).await.unwrap();
    assert_eq!((done.practices, done.rewrapped, done.kept), (3, 1, 2));

    assert_eq!(forget_previous(&clinic.config, &next).await.unwrap(), 3);
    assert!(opens(&NEXT).await && !opens(&now).await);
    assert!(matches!(
        check_keys(&clinic.config).await,
        Err(MasterError::Closed(_))
    ));
    assert_eq!(
        unsent(&NEXT).await,
        before,
        "text that waits in a browser stays readable for its writer"
    );
}
