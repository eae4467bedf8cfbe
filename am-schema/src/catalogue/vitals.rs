//! Vital signs by code, and the conversion of units.
//!
//! Units are UCUM codes. Everyday spellings, such as `°F`, `lb` or `mmHg`, are understood as well.

/// A vital sign: what its code means, in which unit it is kept, and in which range it must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Vital {
    /// What `Quantity.code` says.
    pub code: &'static str,
    /// The canonical unit, UCUM.
    pub unit: &'static str,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// A name for people.
    pub title: &'static str,
}

macro_rules! vitals {
    ($($code:literal $unit:literal $min:literal..$max:literal $title:literal;)*) => {
        /// Every code, in order of name.
        pub static VITALS: &[Vital] = &[$(Vital { code: $code, unit: $unit, min: $min, max: $max, title: $title }),*];
    };
}

vitals! {
    "basal_energy" "kJ" 0.0..100_000.0 "Energy at rest";
    "blood_alcohol" "%" 0.0..2.0 "Blood alcohol";
    "blood_pressure_dia" "mm[Hg]" 20.0..200.0 "Diastolic blood pressure";
    "blood_pressure_sys" "mm[Hg]" 40.0..300.0 "Systolic blood pressure";
    "body_fat" "%" 1.0..80.0 "Body fat";
    "body_mass_index" "kg/m2" 5.0..150.0 "Body mass index";
    "body_temperature" "Cel" 25.0..45.0 "Body temperature";
    "distance" "m" 0.0..1_000_000.0 "Distance";
    "electrodermal_activity" "uS" 0.0..200.0 "Skin conductance";
    "energy" "kJ" 0.0..200_000.0 "Active energy";
    "exercise_time" "s" 0.0..604_800.0 "Exercise";
    "floors" "{floor}" 0.0..10_000.0 "Floors climbed";
    "forced_vital_capacity" "L" 0.1..15.0 "Forced vital capacity";
    "glucose" "mmol/L" 0.5..60.0 "Blood glucose";
    "height" "m" 0.2..2.8 "Height";
    "hrv_rmssd" "ms" 0.0..2_000.0 "RMSSD, as the device computed it";
    "hrv_sdnn" "ms" 0.0..2_000.0 "SDNN, as the device computed it";
    "insulin" "[IU]" 0.0..500.0 "Insulin";
    "lean_mass" "kg" 1.0..300.0 "Lean body mass";
    "mindful_time" "s" 0.0..86_400.0 "Mindfulness";
    "peak_expiratory_flow" "L/min" 10.0..1_500.0 "Peak expiratory flow";
    "perfusion" "%" 0.0..100.0 "Perfusion index";
    "respiration" "/min" 2.0..80.0 "Breaths";
    "resting_heart_rate" "/min" 20.0..200.0 "Heart rate at rest";
    "skin_temperature" "Cel" 0.0..50.0 "Skin temperature";
    "sound_level" "dB" 0.0..200.0 "Sound level at the ear";
    "spo2" "%" 40.0..100.0 "Blood oxygen saturation";
    "stand_time" "s" 0.0..86_400.0 "Standing";
    "stress" "{score}" 0.0..100.0 "Stress score of the device";
    "uv_exposure" "{UVI}" 0.0..30.0 "UV index";
    "vo2_max" "mL/(kg.min)" 5.0..100.0 "Maximal oxygen uptake";
    "waist" "m" 0.2..3.0 "Waist circumference";
    "walking_heart_rate" "/min" 20.0..250.0 "Heart rate while walking";
    "walking_speed" "m/s" 0.0..15.0 "Walking speed";
    "water" "L" 0.0..30.0 "Water drunk";
    "weight" "kg" 0.2..700.0 "Body weight";
}

/// The vital sign of a code.
pub fn vital(code: &str) -> Option<&'static Vital> {
    VITALS.binary_search_by_key(&code, |v| v.code).ok().and_then(|i| VITALS.get(i))
}

/// A unit and how it becomes the base unit of its dimension: `(value - zero) * num / den`.
struct Unit {
    /// UCUM first, then other spellings.
    names: &'static [&'static str],
    dimension: Dimension,
    zero: f64,
    num: f64,
    den: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Temperature,
    Mass,
    Length,
    Time,
    Energy,
    Pressure,
    Volume,
    Frequency,
    Speed,
    Ratio,
    Glucose,
    Acceleration,
    Rotation,
    MagneticField,
    Voltage,
    Conductance,
    Illuminance,
    Density,
    Angle,
    Information,
}

macro_rules! units {
    ($($dim:ident: $([$($name:literal),+] $num:literal / $den:literal $(- $zero:literal)?),+;)*) => {
        static UNITS: &[Unit] = &[$($(Unit {
            names: &[$($name),+], dimension: Dimension::$dim, zero: 0.0 $(+ $zero)?, num: $num, den: $den,
        }),+),*];
    };
}

// Factors: NIST Special Publication 811 (2008), appendix B. Calories are thermochemical. Glucose: molar mass 180.156 g/mol.
units! {
    Temperature: ["Cel", "°C", "degC", "C", "celsius"] 1.0 / 1.0, ["[degF]", "°F", "degF", "F", "fahrenheit"] 5.0 / 9.0 - 32.0, ["K", "kelvin"] 1.0 / 1.0 - 273.15;
    Mass: ["kg"] 1.0 / 1.0, ["g"] 1.0 / 1_000.0, ["mg"] 1.0 / 1_000_000.0, ["[lb_av]", "lb", "lbs", "pound"] 0.453_592_37 / 1.0, ["[oz_av]", "oz", "ounce"] 0.453_592_37 / 16.0, ["[stone_av]", "st", "stone"] 6.350_293_18 / 1.0;
    Length: ["m"] 1.0 / 1.0, ["km"] 1_000.0 / 1.0, ["cm"] 1.0 / 100.0, ["mm"] 1.0 / 1_000.0, ["[mi_i]", "mi", "mile", "miles"] 1_609.344 / 1.0, ["[ft_i]", "ft", "foot", "feet"] 0.3048 / 1.0, ["[in_i]", "in", "inch"] 0.0254 / 1.0, ["[yd_i]", "yd", "yard"] 0.9144 / 1.0;
    Time: ["s", "sec"] 1.0 / 1.0, ["ms"] 1.0 / 1_000.0, ["us", "µs"] 1.0 / 1_000_000.0, ["ns"] 1.0 / 1_000_000_000.0, ["min", "minute"] 60.0 / 1.0, ["h", "hr", "hour"] 3_600.0 / 1.0, ["d", "day"] 86_400.0 / 1.0;
    Energy: ["kJ"] 1.0 / 1.0, ["J"] 1.0 / 1_000.0, ["kcal", "Cal", "[Cal]"] 4.184 / 1.0, ["cal"] 4.184 / 1_000.0, ["kW.h", "kWh"] 3_600.0 / 1.0;
    Pressure: ["hPa", "mbar"] 1.0 / 1.0, ["Pa"] 1.0 / 100.0, ["kPa"] 10.0 / 1.0, ["bar"] 1_000.0 / 1.0, ["mm[Hg]", "mmHg"] 1.333_223_874_15 / 1.0, ["[in_i'Hg]", "inHg"] 33.863_886_403_41 / 1.0, ["atm"] 1_013.25 / 1.0, ["[psi]", "psi"] 68.947_572_931_683_6 / 1.0;
    Volume: ["L", "l"] 1.0 / 1.0, ["mL", "ml"] 1.0 / 1_000.0, ["[foz_us]", "fl_oz_us", "floz"] 0.029_573_529_562_5 / 1.0, ["[cup_us]", "cup_us", "cup"] 0.236_588_236_5 / 1.0;
    Frequency: ["/min", "bpm", "count/min", "1/min", "rpm"] 1.0 / 1.0, ["Hz", "/s", "1/s", "count/s"] 60.0 / 1.0;
    Speed: ["m/s"] 1.0 / 1.0, ["km/h", "km/hr", "kph"] 1.0 / 3.6, ["[mi_i]/h", "mph", "mi/h", "mi/hr"] 0.447_04 / 1.0, ["[kn_i]", "kn", "knot"] 1_852.0 / 3_600.0;
    Ratio: ["%", "percent"] 1.0 / 1.0, ["1", "ratio"] 100.0 / 1.0, ["[ppth]", "‰"] 1.0 / 10.0;
    Glucose: ["mmol/L", "mmol/l", "mmol<180.1558800000541>/L"] 1.0 / 1.0, ["mg/dL", "mg/dl"] 10.0 / 180.156;
    Acceleration: ["m/s2", "m/s^2", "m/s²"] 1.0 / 1.0, ["[g]", "g0", "standard_gravity"] 9.806_65 / 1.0, ["m[g]", "mg0"] 9.806_65 / 1_000.0, ["cm/s2", "Gal"] 1.0 / 100.0;
    Rotation: ["rad/s"] 1.0 / 1.0, ["deg/s", "°/s", "dps"] 0.017_453_292_519_943_295 / 1.0;
    MagneticField: ["uT", "µT"] 1.0 / 1.0, ["T"] 1_000_000.0 / 1.0, ["nT"] 1.0 / 1_000.0, ["G", "gauss"] 100.0 / 1.0, ["mG"] 1.0 / 10.0;
    Voltage: ["uV", "µV"] 1.0 / 1.0, ["mV"] 1_000.0 / 1.0, ["V"] 1_000_000.0 / 1.0, ["nV"] 1.0 / 1_000.0;
    Conductance: ["uS", "µS"] 1.0 / 1.0, ["S"] 1_000_000.0 / 1.0;
    Illuminance: ["lx", "lux"] 1.0 / 1.0, ["lm/[sft_i]", "foot_candle"] 10.763_910_416_709_722 / 1.0;
    Density: ["ug/m3", "µg/m³", "µg/m3"] 1.0 / 1.0, ["mg/m3"] 1_000.0 / 1.0;
    Angle: ["deg", "°"] 1.0 / 1.0, ["rad"] 57.295_779_513_082_32 / 1.0;
    Information: ["By", "B"] 1.0 / 1.0, ["kBy", "kB"] 1_000.0 / 1.0, ["KiBy", "KiB"] 1_024.0 / 1.0, ["MBy", "MB"] 1_000_000.0 / 1.0, ["MiBy", "MiB"] 1_048_576.0 / 1.0;
}

fn unit(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|u| u.names.contains(&name))
}

/// A value in another unit; `None` when a unit is unknown or the two do not measure the same. Milligrams per decilitre are those of
/// glucose, the only concentration there is.
pub fn convert(value: f64, from_unit: &str, to_unit: &str) -> Option<f64> {
    if from_unit == to_unit {
        return Some(value);
    }
    let (from, to) = (unit(from_unit)?, unit(to_unit)?);
    if std::ptr::eq(from, to) {
        return Some(value);
    }
    let base = (value - from.zero) * from.num / from.den;
    (from.dimension == to.dimension).then(|| base * to.den / to.num + to.zero)
}

/// The UCUM code of a unit in any known spelling.
pub fn ucum(name: &str) -> Option<&'static str> {
    unit(name).and_then(|u| u.names.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_each_finds_its_row() {
        assert!(VITALS.windows(2).all(|w| w[0].code < w[1].code));
        for v in VITALS {
            assert_eq!(vital(v.code), Some(v));
            assert!(v.min < v.max && !v.title.is_empty(), "{}", v.code);
        }
        assert_eq!(vital("spo2").unwrap().unit, "%");
        assert_eq!(vital("mood"), None);
    }

    #[test]
    fn units_convert_as_the_tables_of_physics_say() {
        let near = |value: f64, from: &str, to: &str, expected: f64| {
            let got = convert(value, from, to).unwrap_or(f64::NAN);
            assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{value} {from} is {got} {to}, not {expected}");
        };
        near(98.6, "[degF]", "Cel", 37.0);
        near(-40.0, "°F", "°C", -40.0);
        near(310.15, "K", "[degF]", 98.6);
        near(150.0, "lb", "kg", 68.038_855_5);
        near(90.0, "mg/dL", "mmol/L", 4.995_670_418_97);
        near(26.2, "mi", "m", 42_164.812_8);
        near(250.0, "kcal", "kJ", 1_046.0);
        near(120.0, "mm[Hg]", "kPa", 15.998_686_489_8);
        near(0.98, "1", "%", 98.0);
        near(1.2, "Hz", "bpm", 72.0);
        near(29.92, "inHg", "hPa", 1_013.207_481_19);
        near(1.0, "[g]", "m/s2", 9.806_65);
        near(180.0, "deg/s", "rad/s", std::f64::consts::PI);
    }

    #[test]
    fn units_that_measure_something_else_do_not_convert() {
        assert_eq!(convert(1.0, "kg", "m"), None);
        assert_eq!(convert(1.0, "furlong", "m"), None);
        assert_eq!(convert(5.0, "{floor}", "{floor}"), Some(5.0));
        assert_eq!(convert(98.6, "°F", "[degF]"), Some(98.6));
        assert_eq!(ucum("lbs"), Some("[lb_av]"));
    }

    #[test]
    fn no_spelling_means_two_units() {
        let mut names: Vec<&str> = UNITS.iter().flat_map(|u| u.names).copied().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
