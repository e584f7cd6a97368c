//! Words of the demo's finished notes, and its outcome scores.

/// Subjective, objective, assessment, plan.
pub(super) type Soap = [&'static str; 4];

/// Notes of earlier visits, one after the other for each patient.
pub(super) const NOTES: [Soap; 6] = [
    [
        "First visit. Pain started three weeks ago after lifting a box; worst 7/10, now 5/10. Sleeps on the other side. Wants to garden again.",
        "Moves guardedly. Range of movement limited to two thirds by pain. Strength 4/5. No neurological signs.",
        "Mechanical pain with protective stiffness. No red flags found today.",
        "Explained the findings. Two sessions a week for three weeks. Home exercises given, three times a day.",
    ],
    [
        "Better since the first visit: worst 5/10. Did the exercises most days. Stairs still sore.",
        "Range of movement three quarters. Strength 4/5. Tolerated ten minutes on the bike.",
        "Improving as expected.",
        "Progress the exercises to standing. Review in three days.",
    ],
    [
        "Slept through twice this week. Worst 4/10 after a long day at work.",
        "Range of movement nearly full, stiff at the end. Balance 20 s on each leg. Mobilisation and exercises done without a flare.",
        "Function improving; endurance is now the limit.",
        "Add a walking programme, 15 minutes a day. One session next week.",
    ],
    [
        "Pain 2/10 at most. Back to light garden work. No tablets since Sunday.",
        "Full range of movement. Strength 4+/5. Squats 3×10 without pain.",
        "Near the goals that we set at the first visit.",
        "Load progressively. Two more sessions, then discharge with a programme.",
    ],
    [
        "No pain in daily life. Unsure about sport.",
        "Strength equal on both sides. Hop test 92 % of the other side.",
        "Ready for graded return to sport.",
        "Return-to-sport steps explained and written down. Re-test in two weeks.",
    ],
    [
        "Good week. Questions about the home programme only.",
        "All exercises checked and corrected. Balance 45 s on each leg.",
        "Self-management is going well.",
        "Discharge next visit if this holds.",
    ],
];

/// Person, measure, scores from the oldest to the newest, a week apart.
pub(super) const SCORES: [(usize, &str, &[i64]); 8] = [
    (0, "lefs", &[18, 24, 31, 36, 41, 48]),
    (0, "nprs", &[7, 6, 5, 4, 3, 2]),
    (1, "odi", &[44, 38, 30, 24]),
    (1, "nprs", &[7, 6, 4, 3]),
    (2, "quickdash", &[52, 45, 39]),
    (9, "lefs", &[30, 38, 47, 55]),
    (15, "tug", &[19, 16, 14, 12]),
    (37, "tug", &[17, 16, 14]),
];
