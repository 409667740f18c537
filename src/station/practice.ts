/** What a practising station has besides: units to load. */
export interface Practice {
  /** What is printed on the units that stand in front of the station. */
  labels(): readonly string[];
  /** Takes the tray away and brings the next. */
  nextTray(): Promise<void>;
}
