import pluginVue from 'eslint-plugin-vue';
import { parser } from 'typescript-eslint';

/** Templates only: what Biome does not see. TypeScript is Biome's and vue-tsc's. */
export default [
  { ignores: ['!renderer/**', 'renderer/public/**'] },
  ...pluginVue.configs['flat/recommended'].map((config) => ({ ...config, files: ['renderer/**/*.vue'] })),
  {
    files: ['renderer/**/*.vue'],
    languageOptions: { parserOptions: { parser } },
    rules: {
      // Layout is the formatter's.
      'vue/max-attributes-per-line': 'off',
      'vue/singleline-html-element-content-newline': 'off',
      'vue/multiline-html-element-content-newline': 'off',
      'vue/html-self-closing': 'off',
      'vue/html-indent': 'off',
      'vue/first-attribute-linebreak': 'off',
      'vue/html-closing-bracket-newline': 'off',
      'vue/multi-word-component-names': ['error', { ignores: ['app'] }],
      'vue/require-default-prop': 'off',
      'vue/no-v-html': 'error',
      'vue/require-v-for-key': 'error',
      'vue/no-unused-vars': 'error',
    },
  },
];
