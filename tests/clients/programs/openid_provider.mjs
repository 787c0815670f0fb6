// A certified OpenID provider (oidc-provider) on loopback: node - PORT CLIENT SECRET SERVICE_URL
// Its own pages for developers ask for a name, which becomes the subject; the groups are in the name: "alice+chat+ops".
import { Provider } from "oidc-provider";

const [port, client_id, client_secret, service] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const accountOf = (sub) => ({
  accountId: sub,
  claims: () => ({ sub, preferred_username: sub.split("+")[0], groups: sub.split("+").slice(1) }),
});
const provider = new Provider(issuer, {
  clients: [
    {
      client_id,
      client_secret,
      redirect_uris: [`${service}/login/openid/callback`],
      post_logout_redirect_uris: [`${service}/login`],
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  pkce: { required: () => true },
  findAccount: (_, sub) => accountOf(sub),
  cookies: { keys: ["not a secret"] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
});
provider.listen(port, "127.0.0.1", () => console.log(issuer));
