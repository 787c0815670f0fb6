// Whose page this is. It is asked once, when the page is loaded, and never changes: for anybody else it is loaded anew.
import { memory } from "./dom.js";

const GUEST = "guest";
let user = null;

// How the service is told of somebody: `me` has id, username and isGuest.
export const identityOf = (me) => (me.isGuest ? GUEST : me.id);
// Takes the page for whom the service sees now.
export const claim = (me) => (user = { identity: identityOf(me), name: me.username, isGuest: me.isGuest });
// Null until then.
export const pageUser = () => user;

// What is remembered in this tab, of this user alone: what one wrote must not come up in the page of another.
export const ofTab = memory(() => sessionStorage, () => `${user.identity}:`);
