import packageJson from '../../package.json' with { type: 'json' };

/** The version that stands in every record. */
export const appVersion: string = packageJson.version;
