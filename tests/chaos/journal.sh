# One line for each start, beat and end, appended whole (O_APPEND), whatever else runs.
note() { printf '%s %s %s %s\n' "$1" "$P3S_JOB_UUID" "$P3S_ATTEMPT" "$EPOCHREALTIME" >> "$JOURNAL"; }

# Work for so many quarters of a second.
work() {
  note start
  for _ in $(seq "$1"); do sleep 0.25; note beat; done
}

# Write an output: this attempt, then the attempts that made the inputs.
store() {
  { echo "$P3S_ATTEMPT"; for input in "${@:2}"; do head -n 1 "$input"; done; } > "$1"
  note end
}
