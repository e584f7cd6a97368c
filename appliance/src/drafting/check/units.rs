//! Units of measurement.

/// What a unit measures; values of one kind are compared in its base unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mass,
    Volume,
    Length,
    /// Days.
    Time,
    Percent,
    Angle,
    Rate,
    Pressure,
    Units,
    /// Doses, tablets, repetitions: "2 tablets", "3 times", "twice".
    Count,
}

/// A unit's kind and its size in the kind's base unit (g, ml, cm, day).
pub(super) fn unit(word: &str) -> Option<(Kind, f64)> {
    Some(match word {
        "mg" | "mgs" | "milligram" | "milligrams" => (Kind::Mass, 0.001),
        "mcg" | "ug" | "microgram" | "micrograms" | "mcgs" => (Kind::Mass, 1e-6),
        "g" | "gram" | "grams" | "gm" => (Kind::Mass, 1.0),
        "kg" | "kgs" | "kilogram" | "kilograms" | "kilo" | "kilos" => (Kind::Mass, 1000.0),
        "oz" | "ounce" | "ounces" => (Kind::Mass, 28.35),
        "lb" | "lbs" | "pound" | "pounds" => (Kind::Mass, 453.6),
        "ml" | "milliliter" | "milliliters" | "millilitre" | "millilitres" | "cc" => {
            (Kind::Volume, 1.0)
        }
        "liter" | "liters" | "litre" | "litres" => (Kind::Volume, 1000.0),
        "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => (Kind::Length, 0.1),
        "cm" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => (Kind::Length, 1.0),
        "m" | "meter" | "meters" | "metre" | "metres" => (Kind::Length, 100.0),
        "km" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => (Kind::Length, 100_000.0),
        "inch" | "inches" => (Kind::Length, 2.54),
        "foot" | "feet" | "ft" => (Kind::Length, 30.48),
        "mile" | "miles" => (Kind::Length, 160_934.0),
        "second" | "seconds" | "sec" | "secs" | "s" => (Kind::Time, 1.0 / 86_400.0),
        "minute" | "minutes" | "min" | "mins" => (Kind::Time, 1.0 / 1440.0),
        "hour" | "hours" | "hr" | "hrs" => (Kind::Time, 1.0 / 24.0),
        "day" | "days" => (Kind::Time, 1.0),
        "week" | "weeks" | "wk" | "wks" => (Kind::Time, 7.0),
        "month" | "months" | "mth" | "mths" => (Kind::Time, 30.4),
        "year" | "years" | "yr" | "yrs" | "yo" => (Kind::Time, 365.0),
        "%" | "percent" => (Kind::Percent, 1.0),
        "degree" | "degrees" | "deg" | "°" => (Kind::Angle, 1.0),
        "bpm" | "beats" => (Kind::Rate, 1.0),
        "mmhg" => (Kind::Pressure, 1.0),
        "unit" | "units" | "iu" => (Kind::Units, 1.0),
        "times" | "x" | "tablet" | "tablets" | "tab" | "tabs" | "pill" | "pills" | "capsule"
        | "capsules" | "puff" | "puffs" | "reps" | "sets" | "rep" | "set" | "visits"
        | "sessions" => (Kind::Count, 1.0),
        _ => return None,
    })
}
