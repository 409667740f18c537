/** The parts of the configuration that are checked. */
declare const configuration: {
  readonly artifactName: string;
  readonly fileAssociations: readonly { readonly ext: string }[];
  readonly linux: { readonly target: readonly string[] };
  readonly win: { readonly target: readonly string[] };
  readonly mac: { readonly target: readonly string[] };
};
export default configuration;
