import { createRouter, createWebHashHistory, type Router } from 'vue-router';
import type { useStation } from './station/station-store.ts';

/** The screens and their addresses. Without a session every address leads to the sign-in. */
export function createAppRouter(station: ReturnType<typeof useStation>): Router {
  const router = createRouter({
    history: createWebHashHistory(),
    routes: [
      { path: '/', redirect: '/tray' },
      { path: '/sign-in', name: 'sign-in', component: () => import('./screens/sign-in.vue') },
      { path: '/tray', name: 'tray', component: () => import('./screens/tray-screen.vue') },
      { path: '/unit/:id', name: 'unit', component: () => import('./screens/unit-view.vue'), props: true },
      { path: '/records', name: 'records', component: () => import('./screens/records-screen.vue') },
      { path: '/statistics', name: 'statistics', component: () => import('./screens/statistics-screen.vue') },
      {
        path: '/engineer',
        component: () => import('./screens/engineer-screen.vue'),
        children: [
          { path: '', name: 'engineer', redirect: { name: 'work-orders' } },
          { path: 'work-orders', name: 'work-orders', component: () => import('./screens/engineer/work-orders.vue') },
          { path: 'firmware', name: 'firmware', component: () => import('./screens/engineer/firmware-library.vue') },
          { path: 'profiles', name: 'profiles', component: () => import('./screens/engineer/product-profiles.vue') },
          { path: 'quarantine', name: 'quarantine', component: () => import('./screens/engineer/quarantine-list.vue') },
          { path: 'radios', name: 'radios', component: () => import('./screens/engineer/radio-list.vue') },
          {
            path: 'qualifications',
            name: 'qualifications',
            component: () => import('./screens/engineer/qualification-list.vue'),
          },
          { path: 'limits', name: 'limits', component: () => import('./screens/engineer/floor-limits.vue') },
          { path: 'people', name: 'people', component: () => import('./screens/engineer/people-list.vue') },
          { path: 'changes', name: 'changes', component: () => import('./screens/engineer/change-list.vue') },
        ],
      },
      { path: '/:rest(.*)', redirect: '/tray' },
    ],
  });
  router.beforeEach((to) => {
    if (to.name === 'sign-in') return true;
    if (station.connection === 'open' && !station.session) return { name: 'sign-in' };
    return true;
  });
  return router;
}
