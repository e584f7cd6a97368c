//! The database's own refusals, by the name of the constraint that refused.

/// The name of the constraint that a statement broke, if it was one.
#[must_use]
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|e| e.constraint())
}

/// Whether a statement broke this constraint.
#[must_use]
pub fn constraint_is(error: &sqlx::Error, name: &str) -> bool {
    broken_constraint(error) == Some(name)
}
