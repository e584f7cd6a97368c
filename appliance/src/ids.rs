//! Identifiers: one type a kind of thing, so that a patient's id can't be passed for a booking's.

/// Declares newtypes over a UUID version 7, transparent to SQL and JSON.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, sqlx::Type, utoipa::ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// A new, time-ordered identifier.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    )+};
}

ids! {
    /// A practice: the tenant.
    PracticeId,
    /// A person who logs in.
    UserId,
    /// A therapist or doctor.
    PractitionerId,
    /// A treatment room.
    RoomId,
    /// A patient.
    PatientId,
    /// A kind of session, with its length and price.
    SessionTypeId,
    /// A booking.
    AppointmentId,
    /// A place on the waiting list.
    WaitingId,
    /// A visit.
    EncounterId,
    /// What the model wrote for a visit.
    DraftId,
    /// An invoice.
    InvoiceId,
    /// A payment.
    PaymentId,
}
